"""Requests that are scored together."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

import pytest

from recloop.errors import DataError, RecloopError
from recloop.serving.asking import Ask, Past, Ready, Recommendation
from recloop.serving.batches import Batches
from recloop.serving.bundle import Bundle
from recloop.serving.recommender import Recommender
from tests.support.bundles import packaged, world

PEOPLE = [f"user-{number}" for number in range(12)]


class Slow(Recommender):
    """Counts its batches, and lets each wait until it may go on; breaks at the user ``bad``."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.batches: list[int] = []
        self.begun, self.go_on = Event(), Event()

    def prepare(self, asks: Sequence[Ask]) -> list[Ready | RecloopError]:
        self.begun.set()
        assert self.go_on.wait(10)
        self.batches.append(len(asks))
        if any(ask.user_id == "bad" for ask in asks):
            raise RuntimeError("broken")
        return super().prepare(asks)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(packaged(tmp_path_factory.mktemp("b") / "bundle", "ease", world(events=300)))


@pytest.fixture
def batches() -> Iterator[Batches]:
    made = Batches(largest=8)
    yield made
    made.close()


async def gathered(batches: Batches, slow: Slow, asks: list[Ask]) -> list[Recommendation | BaseException]:
    """The answers to all; the first is under way when the others come."""
    first = asyncio.create_task(batches.recommend(slow, asks[0]))
    await asyncio.to_thread(slow.begun.wait, 10)
    rest = [asyncio.create_task(batches.recommend(slow, ask)) for ask in asks[1:]]
    await asyncio.sleep(0.05)
    slow.go_on.set()
    return list(await asyncio.gather(first, *rest, return_exceptions=True))


def test_what_waits_is_one_batch_and_answers_are_those_of_each_alone(bundle: Bundle, batches: Batches):
    slow, alone = Slow(bundle), Recommender(bundle)
    asks = [Ask(user_id=user, request_id=user, k=3 + len(user) % 5) for user in PEOPLE]
    answers = asyncio.run(gathered(batches, slow, asks))
    assert slow.batches == [1, 8, 3], "one that came first, then as many as are allowed at once"
    for ask, answer in zip(asks, answers, strict=True):
        assert isinstance(answer, Recommendation)
        expected = alone.answer(ask)
        assert answer.items.ids == expected.items.ids
        assert answer.items.scores == pytest.approx(expected.items.scores, rel=1e-5)
        assert (answer.seed, answer.fallback, answer.n_candidates) == (
            expected.seed,
            expected.fallback,
            expected.n_candidates,
        )


def test_one_that_breaks_the_model_and_one_that_is_bad_do_not_spoil_the_others(bundle: Bundle, batches: Batches):
    mixed = [Past(item_id="item-1", timestamp=1), Past(item_id="item-2")]
    asks = [Ask(user_id="user-1"), Ask(user_id="bad"), Ask(history=mixed), Ask(user_id="user-2")]
    answers = asyncio.run(gathered(batches, Slow(bundle), asks))
    assert [type(answer) for answer in answers] == [Recommendation, RuntimeError, DataError, Recommendation]


def test_each_recommender_answers_for_itself(bundle: Bundle, batches: Batches, tmp_path: Path):
    other = Recommender(Bundle.load(packaged(tmp_path / "bundle", "popularity", world(events=300))))
    mine = Recommender(bundle)

    async def both() -> list[Recommendation]:
        return await asyncio.gather(
            *(batches.recommend(by, Ask(user_id=user)) for user in PEOPLE for by in (mine, other))
        )

    answers = asyncio.run(both())
    for number, user in enumerate(PEOPLE):
        for answer, by in zip(answers[2 * number : 2 * number + 2], (mine, other), strict=True):
            assert answer.items.ids == by.answer(Ask(user_id=user)).items.ids


def test_an_asker_who_has_gone_is_no_hindrance(bundle: Bundle, batches: Batches):
    slow = Slow(bundle)

    async def leaves() -> Recommendation:
        gone = asyncio.create_task(batches.recommend(slow, Ask(user_id="user-1")))
        await asyncio.to_thread(slow.begun.wait, 10)
        gone.cancel()
        stays = asyncio.create_task(batches.recommend(slow, Ask(user_id="user-2")))
        slow.go_on.set()
        return await stays

    assert asyncio.run(leaves()).items


def test_what_waits_at_the_end_is_answered(bundle: Bundle):
    batches, slow = Batches(), Slow(bundle)

    async def closing() -> list[Recommendation]:
        asked = [asyncio.create_task(batches.recommend(slow, Ask(user_id=user))) for user in PEOPLE]
        await asyncio.to_thread(slow.begun.wait, 10)
        slow.go_on.set()
        await asyncio.to_thread(batches.close)
        return await asyncio.gather(*asked)

    assert len(asyncio.run(closing())) == len(PEOPLE)
