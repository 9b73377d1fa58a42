"""The counting of alarms, and both benchmarks of the drift checks on small worlds."""

import numpy as np
import pytest
import torch

from benchmarks import drift_alarms, drift_finds
from benchmarks.drift_alarms import ANY, alarms, lasting, live
from benchmarks.drift_finds import looks
from recloop.evaluation.contenders import fit


def test_nights_in_a_row_are_one_alarm_and_a_new_champion_ends_it() -> None:
    nights = [
        (0, {"slates"}),
        (0, {"slates", "volume"}),
        (0, {"volume"}),
        (0, set[str]()),
        (0, {"slates"}),
        (1, {"slates"}),
        (1, {"slates"}),
    ]
    runs = lasting(nights)
    assert [run for _, run in runs] == [
        {"slates": 1},
        {"slates": 2, "volume": 1},
        {"volume": 2},
        {},
        {"slates": 1},
        {"slates": 1},
        {"slates": 2},
    ]
    assert alarms(runs, 1) == {"slates": 3, "volume": 1, ANY: 3}
    assert alarms(runs, 2) == {"slates": 2, "volume": 1, ANY: 2}
    assert alarms(runs, 3) == {}


@pytest.mark.parametrize(("retrained", "champions"), [(4, 3), (None, 1)])
def test_every_night_is_looked_at_with_the_champion_of_that_night(retrained: int | None, champions: int) -> None:
    events = drift_alarms.world(0, repeats=True)
    nights = list(drift_alarms.nightly(events, retrained, 10))
    assert len(nights) == 10
    assert len({champion for champion, _ in nights}) == champions
    ends = [found.current["to"] for _, found in nights]
    assert ends == sorted(ends)
    newest = events["timestamp"].max()
    assert ends[-1] == f"{newest:%Y-%m-%dT%H:%M:%S.%f}+00:00"
    trained = {champion: found.reference["rows"] for champion, found in nights}
    assert sorted(trained.values()) == list(trained.values())


def test_a_year_is_counted_and_written() -> None:
    row = live(0, 30, nights=3, repeats=True)
    assert (row["looks"], row["insufficient"], row["checked"]["slates"]) == (3, 0, 3)
    other = row | {"drifted": {"slates": 2, ANY: 2}, "alarms": {"1": {"slates": 1, ANY: 1}, "2": {}}}
    page = drift_alarms.page([row | {"drifted": {}, "alarms": {"1": {}, "2": {}}}, other])
    shown = "| 2 | 0 | 2 of 6 | 0.5 (from 0 to 1) | 0.0 (from 0 to 0) |"
    assert f"| trained anew every 30 days | may be taken again {shown}" in page
    assert "| `slates` | 6 | 2 | 0.50 | 0.00 |" in page


def test_what_is_broken_is_broken_in_the_newest_window_alone() -> None:
    found = dict(looks(1, users=200))
    assert list(found) == list(drift_finds.ROWS)
    assert len({tuple(look.reference.values()) for row, look in found.items() if row != "late"}) == 1
    rows = {row: look.current["rows"] for row, look in found.items()}
    assert rows["still"] == rows["vectors"] == rows["ids"] > 1.5 * rows["source"]
    drifted = {row: {check.name for check in look.checks if check.drifted} for row, look in found.items()}
    assert "popularity_baseline" in drifted["vectors"]
    assert not drifted["still"]
    page = drift_finds.page([{"row": row, "drifted": sorted(names)} for row, names in drifted.items()])
    assert "| nothing | 0 |  |" in page


def test_a_model_is_mixed_up_by_its_items_alone() -> None:
    events = drift_alarms.world(0, repeats=True).head(2000)
    model, items = fit("als", None, events, device=torch.device("cpu"))
    broken = drift_finds._mixed_up(model, items, np.random.default_rng(0))
    own, other = model.tensors()["items"].numpy(), broken.tensors()["items"].numpy()
    assert not np.array_equal(own, other)
    assert np.array_equal(np.sort(own, axis=0), np.sort(other, axis=0))
    assert torch.equal(model.tensors()["nobody"], broken.tensors()["nobody"])
