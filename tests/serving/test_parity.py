"""What is served is what was evaluated: same items, same order, same scores, for every model there is."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from recloop.columns import ITEM, USER
from recloop.data.sequences import Contexts, Examples
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.models import names
from recloop.models.storage import Trained
from recloop.retrieval.exact import rank_examples
from recloop.serving.asking import Past
from recloop.serving.bundle import Bundle, write_bundle
from recloop.serving.recommender import Recommender
from tests.support.bundles import known, train, world
from tests.support.service import serve

K = 7
TRAINED = world()
LATER = world(events=900).tail(200)


def questions(vocabulary: Vocabulary) -> Examples:
    """For every event of `LATER`: what comes next, given that user's events in it so far? The first have none."""
    users = Vocabulary(LATER[USER])
    histories = Contexts.from_frame(LATER, users, vocabulary)
    owners = histories.rows
    return Examples(
        histories=histories,
        users=owners,
        stops=np.arange(len(owners)) - histories.offsets[owners],
        offsets=np.arange(len(owners) + 1),
        targets=histories.items,
        values=histories.values,
    )


def offline(name: str, folder: Path) -> list[tuple[list[Past], list[str], list[float]]]:
    """Train, package to `folder`, and rank offline: (history, items, scores) for every question."""
    model, vocabulary = train(name, TRAINED)
    people = known(TRAINED).users
    write_bundle(folder, trained=Trained(model=model, vocabulary=vocabulary), interactions=TRAINED, people=people)
    examples = questions(vocabulary)
    answers: list[tuple[list[Past], list[str], list[float]]] = []
    for batch in rank_examples(model, examples, K, batch_size=64):
        for row, example in enumerate(range(batch.start, batch.stop)):
            context = examples.contexts(example, example + 1)
            history = [
                Past(item_id=item, timestamp=int(time), value=float(value))
                for item, time, value in zip(
                    vocabulary.decode(context.items), context.timestamps, context.values, strict=True
                )
            ]
            items, scores = batch.top.items[row], batch.top.scores[row]
            left = items != UNKNOWN
            answers.append((history, vocabulary.decode(items[left]), scores[left].tolist()))
    return answers


@pytest.mark.parametrize("name", names())
def test_a_loaded_bundle_ranks_like_the_evaluation(name: str, tmp_path: Path) -> None:
    expected = offline(name, tmp_path / "bundle")
    assert len(expected) > 100
    assert any(len(history) > 5 for history, _, _ in expected)
    recommender = Recommender(Bundle.load(tmp_path / "bundle"))
    for history, items, scores in expected:
        answer = recommender.recommend(history=history, k=K).items
        assert [item.item_id for item in answer] == items
        assert [item.score for item in answer] == pytest.approx(scores, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", names())
def test_a_known_user_is_answered_as_with_the_same_history(name: str, tmp_path: Path) -> None:
    offline(name, tmp_path / "bundle")
    recommender = Recommender(Bundle.load(tmp_path / "bundle"))
    for (user,), events in TRAINED.group_by(USER, maintain_order=True):
        times = events["timestamp"].to_physical()
        rows = zip(events[ITEM], times, events["value"], strict=True)
        history = [Past(item_id=item, timestamp=time, value=value) for item, time, value in rows]
        stored = recommender.recommend(request_id="r", user_id=str(user))
        given = recommender.recommend(request_id="r", user_id=str(user), history=history)
        assert stored == given


@pytest.mark.parametrize("name", names())
def test_similar_items_are_those_of_the_model(name: str, tmp_path: Path) -> None:
    offline(name, tmp_path / "bundle")
    recommender = Recommender(Bundle.load(tmp_path / "bundle"))
    vocabulary, model = recommender.bundle.vocabulary, recommender.bundle.model
    scores = model.similar([3])[0]
    answer = recommender.similar(vocabulary.decode([3])[0], k=len(vocabulary))
    assert len(answer) == len(vocabulary) - 1
    assert [item.score for item in answer] == sorted((item.score for item in answer), reverse=True)
    assert [item.score for item in answer] == scores[vocabulary.encode([item.item_id for item in answer])].tolist()


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("name", names())
def test_the_running_service_ranks_like_the_evaluation(name: str, tmp_path: Path) -> None:
    expected = offline(name, tmp_path / "bundle")
    store = f"sqlite:///{tmp_path}/store.sqlite"
    with serve(tmp_path / "bundle", store) as url, httpx.Client(base_url=url, timeout=30) as client:
        for history, items, scores in expected[:: len(expected) // 40]:
            events = [
                {"item_id": past.item_id, "timestamp": (past.timestamp or 0) / 1e6, "value": past.value}
                for past in history
            ]
            answer = client.post("/recommend", json={"history": events, "k": K}).raise_for_status().json()["items"]
            assert [item["item_id"] for item in answer] == items
            assert [item["score"] for item in answer] == pytest.approx(scores, rel=1e-5, abs=1e-6)
