"""How a champion's slates fare, place by place."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtri

from recloop.loop.clicks import SETTLED, click_rates, compare
from recloop.store import Event, Slate, Store


def places(*rows: tuple[str, int, int]) -> pl.DataFrame:
    """User, place and whether it was acted on."""
    schema = {"user_id": pl.String, "position": pl.Int32, "acted": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("acted").cast(pl.Boolean))


BEFORE = places(("a", 0, 1), ("a", 1, 0), ("b", 0, 1), ("b", 1, 1), ("c", 0, 0), ("c", 1, 0))
LATELY = places(("a", 0, 0), ("b", 0, 1), ("b", 1, 0), ("d", 1, 1), ("d", 2, 1), ("b", 1, 0))


def test_rates_and_what_is_surely_lost_by_hand() -> None:
    """Shown 3 and 3 times before, 2, 3 and 1 times lately, so the weights are 6/5, 9/6 and 0."""
    found = compare(BEFORE, LATELY)
    assert found is not None
    weights = np.array([6 / 5, 9 / 6])
    before, lately = weights @ [2 / 3, 1 / 3], weights @ [1 / 2, 1 / 3]
    assert found.before == pytest.approx(before / weights.sum())
    assert found.lately == pytest.approx(lately / weights.sum())
    assert found.loss == pytest.approx(1 - lately / before)
    each, new = weights / [3, 3], weights / [2, 3]
    psi = {
        "a": new[0] * (0 - 1 / 2) / lately - (each[0] * (1 - 2 / 3) + each[1] * (0 - 1 / 3)) / before,
        "b": (new[0] * (1 - 1 / 2) + new[1] * (0 - 2 / 3)) / lately
        - (each[0] * (1 - 2 / 3) + each[1] * (1 - 1 / 3)) / before,
        "c": -(each[0] * (0 - 2 / 3) + each[1] * (0 - 1 / 3)) / before,
        "d": new[1] * (1 - 1 / 3) / lately,
    }
    variance = 4 / 3 * sum(value**2 for value in psi.values())
    assert found.surely == pytest.approx(1 - lately / before * math.exp(float(ndtri(0.975)) * math.sqrt(variance)))


def world(rng: np.random.Generator, length: int, appeal: float = 1.0, users: int = 400) -> pl.DataFrame:
    """One slate of so many places for each user; place j is looked at with probability 1 / (1 + j)."""
    user, place = np.divmod(np.arange(users * length), length)
    acted = rng.random(users * length) < appeal * 0.5 / (1 + place)
    names = pl.Series(user).cast(pl.String)
    return pl.DataFrame({"user_id": names, "position": pl.Series(place).cast(pl.Int32), "acted": acted})


def test_longer_slates_are_not_worse_ones() -> None:
    """The share of all places that is acted on falls by a half, though nobody likes anything less."""
    rng = np.random.default_rng(0)
    before, lately = world(rng, 3, users=2000), world(rng, 20, users=2000)
    assert lately["acted"].mean() < 0.5 * before["acted"].mean()  # type: ignore[operator]
    found = compare(before, lately)
    assert found is not None
    assert abs(found.loss) < 0.1
    assert found.surely < 0
    less = compare(before, world(rng, 20, appeal=0.5, users=2000))
    assert less is not None
    assert less.loss == pytest.approx(0.5, abs=0.05)
    assert less.surely > 0.3


def test_the_bound_holds_as_often_as_it_says() -> None:
    """400 draws of a loss of a third, with another length of slate and the same people: 2.5%, 10, may be above it."""
    rng = np.random.default_rng(1)
    found = [compare(world(rng, 2, users=100), world(rng, 4, 2 / 3, 150)) for _ in range(400)]
    assert 2 <= sum(rates is not None and rates.surely > 1 / 3 for rates in found) <= 20


def test_slates_without_an_act_lately_are_a_loss_if_there_are_enough() -> None:
    before = world(np.random.default_rng(2), 3)
    nothing = world(np.random.default_rng(2), 3, appeal=0)
    found = compare(before, nothing)
    assert found is not None
    assert (found.lately, found.loss) == (0, 1)
    assert 0.9 < found.surely < 1
    few = compare(before, nothing.head(3))
    assert few is not None
    assert few.surely < 0


@pytest.mark.parametrize(
    ("before", "lately"),
    [
        (places(("a", 0, 0), ("b", 1, 0)), places(("a", 0, 1))),
        (places(("a", 0, 1), ("b", 1, 0)), places(("a", 1, 1))),
        (places(("a", 0, 1)), places(("a", 1, 1))),
        (places(("a", 0, 1)), places()),
        (places(), places(("a", 0, 1))),
    ],
    ids=["no act before", "no act there before", "other places", "nothing lately", "nothing before"],
)
def test_where_nothing_can_be_lost_nothing_is_said(before: pl.DataFrame, lately: pl.DataFrame) -> None:
    assert compare(before, lately) is None


def serve(
    store: Store, number: int, *, bundle: str = "b", arm: str = "champion", clicked: str = "", items: str = "ij"
) -> None:
    slate = Slate(
        request_id=f"r{number}",
        timestamp=number,
        bundle=bundle,
        policy="top_n",
        arm=arm,  # type: ignore[arg-type]
        worker="w",
        serial=number,
        items=list(items),
        scores=[1.0] * len(items),
        user_id=f"u{number % 7}" if number % 2 else None,
    )
    store.add_slates([slate])
    events = [
        Event(
            event_id=f"e{number}{item}",
            user_id="u",
            item_id=item,
            event="click",
            timestamp=number,
            request_id=f"r{number}",
        )
        for item in clicked
    ]
    store.add_events(events)


def test_the_first_and_the_last_third_of_the_champions_slates_are_compared(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}") as store:
        assert click_rates(store, "b", now=SETTLED + 100, least=1) is None
        for number in range(30):
            clicks = number % 2 == 0 if number < 10 else number % 5 == 0
            serve(store, number, clicked="ij" if clicks else "k", items="iji")
        serve(store, 30, bundle="other", clicked="i")
        serve(store, 31, arm="canary", clicked="i")
        serve(store, 32, arm="interleaved", clicked="i")
        serve(store, 40, clicked="i")
        found = click_rates(store, "b", now=SETTLED + 35, least=10)
        assert found is not None
        assert (found.before, found.lately) == pytest.approx((0.5 * 2 / 3, 0.2 * 2 / 3)), "i counts at its first place"
        assert click_rates(store, "b", now=SETTLED + 35, least=11) is None
        assert click_rates(store, "b", now=SETTLED + 35, least=10, acts=["purchase"]) is None
        newest = click_rates(store, "b", now=SETTLED + 35, least=5, slates=19)
        assert newest is not None
        assert newest.before == newest.lately == pytest.approx(0.2 * 2 / 3)
