"""What every model in `recloop.models` must do; a new file there is tested here without being named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recloop import models
from recloop.config import Config
from recloop.data.sequences import Contexts, Examples
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ModelError
from recloop.explanation import explain
from recloop.models.base import FitContext, IterativeModel, Model, ModelConfig
from recloop.models.storage import Trained, load, save
from recloop.training import checkpoint
from recloop.training.config import EarlyStopping
from recloop.training.validation import validate
from tests.support.planted import CLUSTERS, ITEMS_EACH, N_ITEMS, contexts, data, planted, quick, rated

CPU = torch.device("cpu")
CONTEXT = FitContext(device=CPU, seed=3)
ASKED = contexts([[0, 1, 2], [], [9], [23, 17, 16, 17, 18, 19, 20, 21, 22, 16, 17], [4, 12]])
"""Five histories: ordinary, empty, of one event, with repeats and longer than a model may look back, and mixed."""


def untrained(name: str, n_items: int = N_ITEMS, device: torch.device = CPU) -> Model:
    kind = models.find(name)
    return kind(kind.Config(**quick(name)), n_items, device)


def fitted(name: str, histories: list[list[int]], n_items: int = N_ITEMS, seed: int = 3) -> Model:
    model = untrained(name, n_items)
    model.fit(data(histories, n_items), replace(CONTEXT, seed=seed))
    return model


@pytest.fixture(scope="module", params=models.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def trained(name: str) -> Model:
    return fitted(name, planted())


def test_the_class_says_what_it_is_and_needs(name: str) -> None:
    kind = models.find(name)
    assert kind.name() == name
    assert kind.__doc__
    known = {"timestamps", "values", "item_text", "item_features", "item_vectors", "user_features", "knowledge"}
    assert kind.needs <= known
    assert kind.takes <= known
    assert not kind.needs & kind.takes
    assert issubclass(kind.Config, ModelConfig)
    assert kind.Config is not ModelConfig
    assert issubclass(kind.Config, Config)
    assert kind.Config() == kind.Config.model_validate(kind.Config().model_dump(mode="json"))


def test_scores_cover_the_catalogue_and_are_finite(trained: Model) -> None:
    scores = trained.score(ASKED)
    assert scores.shape == (5, N_ITEMS)
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    assert torch.isfinite(scores).all()


def test_people_without_features_get_an_answer_too(trained: Model) -> None:
    assert torch.isfinite(trained.score(replace(ASKED, features=None))).all()


def test_no_contexts_give_no_scores(trained: Model) -> None:
    assert trained.score(Contexts.from_lists([])).shape == (0, N_ITEMS)


def test_nobody_gets_an_answer_that_tells_items_apart(trained: Model) -> None:
    assert trained.score(Contexts.from_lists([[]])).unique().numel() > 1


def test_company_in_a_batch_does_not_matter(trained: Model) -> None:
    together = trained.score(ASKED)
    for row in range(len(ASKED)):
        alone = trained.score(ASKED.take(np.array([row])))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-6)


def test_scoring_changes_nothing(trained: Model) -> None:
    before = [column.copy() for column in (ASKED.offsets, ASKED.items, ASKED.timestamps, ASKED.values)]
    state = torch.get_rng_state()
    first = trained.score(ASKED)
    first.fill_(0)
    assert torch.equal(trained.score(ASKED), trained.score(ASKED))
    assert trained.score(ASKED).any()
    assert torch.equal(torch.get_rng_state(), state)
    for old, new in zip(before, (ASKED.offsets, ASKED.items, ASKED.timestamps, ASKED.values), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_stored_model_scores_the_same(trained: Model, tmp_path: Path) -> None:
    catalogue = Vocabulary([f"{index:02}" for index in range(N_ITEMS)])
    save(Trained(model=trained, vocabulary=catalogue, seed=3), tmp_path / "model")
    again, ids = load(tmp_path / "model", CPU)
    assert type(again) is type(trained)
    assert again.config == trained.config
    assert ids == catalogue
    assert torch.equal(again.score(ASKED), trained.score(ASKED))


def test_the_same_seed_gives_the_same_model_and_leaves_global_randomness_alone(name: str, trained: Model) -> None:
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = fitted(name, planted())
    assert torch.equal(torch.get_rng_state(), state)
    tensors = trained.tensors()
    assert again.tensors().keys() == tensors.keys()
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in again.tensors().items())


@pytest.mark.parametrize("histories", [[[0]], [[0], [0]], [[0, 0, 0]]])
def test_a_catalogue_of_one_item(name: str, histories: list[list[int]]) -> None:
    try:
        model = fitted(name, histories, n_items=1)
    except ModelError as refusal:
        if "values" in models.find(name).needs and "needs ratings, but all values are" in str(refusal):
            return
        raise
    scores = model.score(contexts([[0], []]))
    assert scores.shape == (2, 1)
    assert torch.isfinite(scores).all()


def test_one_user(name: str) -> None:
    scores = fitted(name, [[2, 0, 1]], n_items=4).score(contexts([[2], [3]]))
    assert scores.shape == (2, 4)
    assert torch.isfinite(scores).all()


def test_users_without_events_do_no_harm(name: str) -> None:
    scores = fitted(name, [[], [0, 1], [], [1, 2], []], n_items=3).score(contexts([[0], []]))
    assert torch.isfinite(scores).all()


def test_vectors_multiply_to_the_scores(trained: Model) -> None:
    people, items = trained.user_vectors(ASKED), trained.item_vectors()
    assert (people is None) == (items is None)
    if people is None or items is None:
        return
    assert people.shape == (5, items.shape[1])
    assert items.shape[0] == N_ITEMS
    torch.testing.assert_close(people @ items.T, trained.score(ASKED), rtol=1e-4, atol=1e-5)


def test_similarity_covers_the_catalogue_and_an_item_is_most_like_itself(trained: Model) -> None:
    similar = trained.similar([5, 0])
    assert similar.shape == (2, N_ITEMS)
    assert torch.isfinite(similar).all()
    if trained.item_vectors() is not None:
        torch.testing.assert_close(similar[[0, 1], [5, 0]], torch.ones(2))
        assert (similar <= 1 + 1e-5).all()


def test_scores_are_explained_by_the_history(name: str, trained: Model) -> None:
    context = ASKED.take(np.array([3]))
    wanted = [18, 2, 17, 5]
    terms = trained.contributions(context, wanted)
    found = explain(trained, context, wanted)
    assert found.history.tolist() == [17, 16, 22, 21, 20, 19, 18, 23]
    assert found.contributions.shape == (8, 4)
    assert found.contributions.dtype == np.float32
    assert np.isfinite(found.contributions).all()
    torch.testing.assert_close(
        torch.from_numpy(found.scores), trained.score(context)[0, wanted].cpu(), rtol=1e-4, atol=1e-5
    )
    assert found.method == ("leave_one_out" if terms is None else "exact")
    if terms is not None:
        torch.testing.assert_close(terms.sum(dim=0), trained.score(context)[0, wanted], rtol=1e-4, atol=1e-5)
        assert found.sums.all()
    elif not trained.personal:
        assert not found.contributions.any()


def test_without_a_history_nothing_explains_the_score(trained: Model) -> None:
    found = explain(trained, ASKED.take(np.array([1])), [3, 0, 7])
    assert found.contributions.shape == (0, 3)
    assert np.array_equal(found.base, found.scores)
    assert found.sums.all()


def test_it_learns_what_popularity_cannot(name: str, trained: Model) -> None:
    if not trained.personal:
        alike = trained.score(contexts([[8, 9, 10], [16, 17, 18], []]))
        assert torch.equal(alike, alike[:1].expand(3, -1))
        return
    if "values" in trained.needs:
        # A model of ratings says what people would think of things, not what they would take.
        asked = contexts(rated(seed=8))
        likings = fitted(name, rated()).score(asked).view(len(asked), CLUSTERS, ITEMS_EACH).mean(dim=2)
        own = likings[torch.arange(len(asked)), torch.arange(len(asked)) % CLUSTERS]
        assert (own - (likings.sum(dim=1) - own) / (CLUSTERS - 1)).mean() > 1
        return
    histories = [history[:4] for history in planted(seed=8)]
    examples = Examples(
        histories=contexts(histories),
        users=np.arange(len(histories)),
        stops=np.full(len(histories), 3),
        offsets=np.arange(len(histories) + 1),
        targets=np.array([history[3] for history in histories]),
        values=np.ones(len(histories), dtype=np.float32),
    )
    how = EarlyStopping(metric="ndcg@10")
    assert validate(trained, examples, how) > validate(fitted("popularity", planted()), examples, how) + 0.1


def test_a_pass_taken_up_from_a_checkpoint_is_the_same_pass(name: str, tmp_path: Path) -> None:
    world = data(planted())
    straight, interrupted, resumed = untrained(name), untrained(name), untrained(name)
    if not isinstance(straight, IterativeModel):
        return
    assert isinstance(interrupted, IterativeModel)
    assert isinstance(resumed, IterativeModel)
    straight.begin(world, CONTEXT)
    losses = [straight.advance(CONTEXT) for _ in range(3)]
    interrupted.begin(world, CONTEXT)
    assert interrupted.advance(CONTEXT) == losses[0]
    checkpoint.write(tmp_path, "x", interrupted.training_state())
    resumed.begin(world, CONTEXT)
    resumed.load_training_state(checkpoint.read(tmp_path, "x"))
    assert [resumed.advance(CONTEXT), resumed.advance(CONTEXT)] == losses[1:]
    for key, tensor in straight.tensors().items():
        assert torch.equal(resumed.tensors()[key], tensor), key
    assert losses[2] < losses[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_scores_like_the_cpu(trained: Model) -> None:
    device = torch.device("cuda")
    moved = type(trained)(trained.config, trained.n_items, device)
    moved.load_tensors(trained.tensors())
    scores = moved.score(ASKED)
    assert scores.device.type == "cuda"
    torch.testing.assert_close(scores.cpu(), trained.score(ASKED), rtol=1e-3, atol=1e-4)
    similar = moved.similar([5, 0])
    torch.testing.assert_close(similar.cpu(), trained.similar([5, 0]), rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_training_ranks_own_clusters_first(name: str) -> None:
    device = torch.device("cuda")
    model = untrained(name, device=device)
    model.fit(data(planted()), FitContext(device=device, seed=3))
    if model.personal:
        scores = model.score(contexts([[8, 9, 10], [16, 17, 18]])).cpu().view(2, CLUSTERS, ITEMS_EACH)
        assert scores.mean(dim=2).argmax(dim=1).tolist() == [1, 2]
