"""Why items are recommended, by ids: of a model whose weights can be read, and of one that has none."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from recloop.errors import DataError
from recloop.explanation import explain
from recloop.serving.answer import Answer
from recloop.serving.asking import Ask, Past
from recloop.serving.bundle import Bundle
from recloop.serving.reasons import answering, explained, reasoned
from recloop.serving.recommender import Recommender, UnknownItemError
from recloop.serving.schemas import ExplainRequest, ReasonedItem, RecommendRequest
from recloop.serving.traffic import Served
from recloop.store import Deployment
from recloop.store.traffic import TrafficPlan, plan
from tests.support.bundles import packaged, world

WORLD = world()


@pytest.fixture(scope="module")
def ease(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(packaged(tmp_path_factory.mktemp("ease") / "bundle", "ease", WORLD, data={"feedback": 7}))


@pytest.fixture(scope="module")
def sasrec(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(packaged(tmp_path_factory.mktemp("sasrec") / "bundle", "sasrec", WORLD))


def weight(bundle: Bundle, of: str, on: str) -> float:
    of_index, on_index = map(bundle.vocabulary.index, (of, on))
    return float(bundle.model.tensors()["weights"][of_index, on_index])


def in_charge(champion: Bundle, canary: Bundle) -> TrafficPlan:
    """One bundle is the champion, another the canary of nearly everybody."""
    rows = [
        Deployment(seq=1, bundle=champion.id, model="ease", action="promote", reason="", timestamp=1, previous=None),
        Deployment(
            seq=2, bundle=canary.id, model="sasrec", action="canary", reason="", timestamp=2, previous=None, share=0.999
        ),
    ]
    return plan(rows)


def ask(**fields: Any) -> ExplainRequest:
    return ExplainRequest.model_validate(fields)


def test_a_given_history_is_told_what_each_item_adds(ease: Bundle):
    history = [{"item_id": item, "timestamp": 5 + place} for place, item in enumerate(["item-4", "x", "item-2"])]
    answer = explained(Recommender(ease), ask(history=history, item_id="item-6"))
    expected = {item: weight(ease, item, "item-6") for item in ("item-2", "item-4")}
    assert {one.item_id: one.contribution for one in answer.contributions} == expected
    sizes = [abs(one.contribution) for one in answer.contributions]
    assert sizes == sorted(sizes, reverse=True)
    assert answer.score == pytest.approx(sum(expected.values()), rel=1e-5)
    times = {one.item_id: one.timestamp for one in answer.contributions}
    assert times == {"item-4": "1970-01-01T00:00:05.000000+00:00", "item-2": "1970-01-01T00:00:07.000000+00:00"}
    assert (answer.base, answer.rest, answer.method, answer.sums) == (0, 0, "exact", True)
    assert (answer.item_id, answer.bundle, answer.fallback, answer.ignored) == ("item-6", ease.id, None, 1)


def test_what_is_not_listed_is_summed(ease: Bundle):
    recommender = Recommender(ease)
    whole = explained(recommender, ask(user_id="user-3", item_id="item-6", k=100))
    few = explained(recommender, ask(user_id="user-3", item_id="item-6", k=2))
    assert len(whole.contributions) > 4
    assert whole.rest == 0
    assert few.contributions == whole.contributions[:2]
    assert few.rest == pytest.approx(sum(one.contribution for one in whole.contributions[2:]))
    assert few.rest != 0
    assert whole.fallback is None
    assert {one.item_id for one in whole.contributions} <= set(WORLD.filter(user_id="user-3")["item_id"])


def test_the_score_is_that_of_the_recommendation(ease: Bundle, sasrec: Bundle):
    for bundle in (ease, sasrec):
        recommender = Recommender(bundle)
        best = recommender.recommend(user_id="user-2", k=1).items[0]
        answer = explained(recommender, ask(user_id="user-2", item_id=best.item_id))
        assert answer.score == pytest.approx(best.score, rel=1e-5)


def test_what_somebody_did_since_counts(ease: Bundle):
    class Later:
        def since(self, user_id: str, seq: int) -> Sequence[Past]:
            return [Past(item_id="item-4", timestamp=10**15)] if user_id == "somebody new" else []

        def version(self, user_id: str) -> int:
            return 0

    request = ask(user_id="somebody new", item_id="item-6")
    before = explained(Recommender(ease), request)
    assert (before.contributions, before.fallback, before.base) == ([], "unknown_user", before.score)
    after = explained(Recommender(ease, live=Later()), request)
    assert [one.item_id for one in after.contributions] == ["item-4"]
    assert after.fallback is None


def test_an_erased_person_is_explained_like_a_stranger(ease: Bundle):
    answer = explained(Recommender(ease, erased=lambda _: 10**17), ask(user_id="user-3", item_id="item-6"))
    assert (answer.contributions, answer.fallback) == ([], "unknown_user")


@pytest.mark.parametrize(
    ("who", "fallback"),
    [({}, "nobody"), ({"user_id": "zoe"}, "unknown_user"), ({"user_id": "user-1", "history": []}, "empty_history")],
)
def test_without_a_history_nothing_is_listed(ease: Bundle, who: dict[str, Any], fallback: str):
    answer = explained(Recommender(ease), ask(**who, item_id="item-6"))
    assert (answer.contributions, answer.rest, answer.sums) == ([], 0, True)
    assert (answer.base, answer.fallback) == (answer.score, fallback)


def test_a_history_without_times_has_none_in_the_answer(ease: Bundle):
    answer = explained(Recommender(ease), ask(history=[{"item_id": "item-2"}, {"item_id": "item-4"}], item_id="item-6"))
    assert [one.timestamp for one in answer.contributions] == [None, None]


def test_bad_requests_are_refused_in_a_sentence(ease: Bundle):
    with pytest.raises(UnknownItemError, match="item_id 'x' is not in the catalogue; ask for an item"):
        explained(Recommender(ease), ask(user_id="user-1", item_id="x"))
    history = [{"item_id": "item-2", "timestamp": 1}, {"item_id": "item-4"}]
    with pytest.raises(DataError, match="history: either every event has a timestamp or none has"):
        explained(Recommender(ease), ask(history=history, item_id="item-6"))


def test_a_model_without_terms_is_explained_by_leaving_out(sasrec: Bundle):
    recommender = Recommender(sasrec)
    items = ["item-2", "item-4", "item-8"]
    answer = explained(recommender, ask(history=[{"item_id": item} for item in items], item_id="item-6"))
    assert answer.method == "leave_one_out"
    index = sasrec.vocabulary.index("item-6")

    def score(history: list[str]) -> float:
        context, _ = recommender.context(Ask(history=[Past(item_id=item) for item in history]))
        return float(sasrec.model.score(context)[0, index])

    expected = {left: score(items) - score([item for item in items if item != left]) for left in items}
    found = {one.item_id: one.contribution for one in answer.contributions}
    assert found == pytest.approx(expected, abs=1e-5)
    assert answer.base == pytest.approx(score([]), rel=1e-5)


def slate(by: Recommender, **fields: Any) -> list[ReasonedItem]:
    request = RecommendRequest.model_validate(fields | {"reasons": True})
    made = by.recommend(user_id=request.user_id, k=request.k)
    return reasoned(Served(only=by), Answer(by=by, slate=made, arm="champion"), request)


@pytest.mark.parametrize("name", ["ease", "sasrec"])
def test_each_item_comes_with_what_speaks_most_for_it(name: str, request: pytest.FixtureRequest):
    bundle: Bundle = request.getfixturevalue(name)
    by = Recommender(bundle)
    places = slate(by, user_id="user-5", k=4)
    assert [(place.item_id, place.score) for place in places] == [
        (one.item_id, one.score) for one in by.recommend(user_id="user-5", k=4).items
    ]
    context, _ = by.context(Ask(user_id="user-5"))
    for place in places:
        added = explain(bundle.model, context, [by.index(place.item_id)])
        order = np.argsort(-added.contributions[:, 0])[:3]
        positive = [row for row in order if added.contributions[row, 0] > 0]
        assert place.reason is not None
        assert place.reason.method == added.method
        assert [one.item_id for one in place.reason.because] == bundle.vocabulary.decode(added.history[positive])
        for_it = added.contributions[added.contributions > 0].sum()
        shares = added.contributions[positive, 0] / for_it
        assert [one.share for one in place.reason.because] == pytest.approx(shares.tolist(), rel=1e-4)
        assert sum(one.share for one in place.reason.because) <= 1 + 1e-6


def test_without_a_history_there_is_no_reason(ease: Bundle):
    places = slate(Recommender(ease), k=3)
    assert [place.reason for place in places] == [None, None, None]


def test_each_place_of_a_drafted_slate_is_explained_by_who_picked_it(ease: Bundle, sasrec: Bundle):
    first, second = Recommender(ease), Recommender(sasrec)
    served = Served(plan=in_charge(ease, sasrec), recommenders={ease.id: first, sasrec.id: second})
    made = first.recommend(user_id="user-5", k=3)
    bundles = [ease.id, sasrec.id, ease.id]
    request = RecommendRequest(user_id="user-5", k=3, reasons=True)
    places = reasoned(served, Answer(by=first, slate=made, arm="interleaved", bundles=bundles), request)
    assert [place.item_id for place in places] == made.items.ids
    assert [place.reason and place.reason.method for place in places] == ["exact", "leave_one_out", "exact"]


def test_a_slate_whose_reasons_fail_comes_without(ease: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    def fail(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(type(ease.model), "contributions", fail)
    places = slate(Recommender(ease), user_id="user-5", k=2)
    assert [place.reason for place in places] == [None, None]
    assert f"No reasons for what {ease.id} recommends" in caplog.text


def test_somebody_in_the_share_of_a_canary_is_explained_by_it(ease: Bundle, sasrec: Bundle):
    first, second = Recommender(ease), Recommender(sasrec)
    assert answering(Served(only=first), "user-1") is first
    assert answering(Served(), "user-1") is None
    served = Served(plan=in_charge(ease, sasrec), recommenders={ease.id: first, sasrec.id: second})
    assert answering(served, "user-1") is second
    assert answering(served, None) is first
