import math
from pathlib import Path

import polars as pl
import pytest
from scipy.special import ndtri

from recloop.loop.clicks import SETTLED, click_rates, compare
from recloop.store import Event, Slate, Store


def slates(users: str, acted: str) -> pl.DataFrame:
    return pl.DataFrame({"user_id": list(users), "acted": [one == "1" for one in acted]})


def test_rates_and_what_is_surely_lost_by_hand() -> None:
    found = compare(slates("aabbcc", "110101"), slates("aabd", "1000"))
    assert found is not None
    assert (found.before, found.lately) == (4 / 6, 1 / 4)
    assert found.loss == pytest.approx(1 - 3 / 8)
    before = {"a": (2 - 4 / 3) / 4, "b": (1 - 4 / 3) / 4, "c": (1 - 4 / 3) / 4, "d": 0.0}
    lately = {"a": 1 - 2 / 4, "b": -1 / 4, "c": 0.0, "d": -1 / 4}
    variance = 4 / 3 * sum((lately[user] - before[user]) ** 2 for user in "abcd")
    assert found.surely == pytest.approx(1 - 3 / 8 * math.exp(float(ndtri(0.975)) * math.sqrt(variance)))


def test_without_clicks_nothing_is_said() -> None:
    assert compare(slates("ab", "00"), slates("ab", "11")) is None


def serve(store: Store, number: int, *, bundle: str = "b", arm: str = "champion", clicked: bool = False) -> None:
    slate = Slate(
        request_id=f"r{number}",
        timestamp=number,
        bundle=bundle,
        policy="top_n",
        arm=arm,  # type: ignore[arg-type]
        worker="w",
        serial=number,
        items=["i"],
        scores=[1.0],
        propensities=[1.0],
        user_id=f"u{number % 7}" if number % 2 else None,
    )
    store.add_slates([slate])
    if clicked:
        event = Event(
            event_id=f"e{number}", user_id="u", item_id="i", event="click", timestamp=number, request_id=f"r{number}"
        )
        store.add_events([event])


def test_the_first_and_the_last_third_of_the_champions_slates_are_compared(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}") as store:
        assert click_rates(store, "b", now=SETTLED + 100, least=1) is None
        for number in range(30):
            serve(store, number, clicked=number % 2 == 0 if number < 10 else number % 5 == 0)
        serve(store, 30, bundle="other", clicked=True)
        serve(store, 31, arm="canary", clicked=True)
        serve(store, 40, clicked=True)
        found = click_rates(store, "b", now=SETTLED + 35, least=10)
        assert found is not None
        assert (found.before, found.lately) == (0.5, 0.2)
        assert click_rates(store, "b", now=SETTLED + 35, least=11) is None
        assert click_rates(store, "b", now=SETTLED + 35, least=10, acts=["purchase"]) is None
        newest = click_rates(store, "b", now=SETTLED + 35, least=5, slates=18)
        assert newest is not None
        assert (newest.before, newest.lately) == (0.2, 0.2)
