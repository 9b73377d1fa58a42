"""The time is the computer's, or that of a file, for all processes alike."""

import time
from pathlib import Path

import pytest

from recloop import clock
from recloop.errors import ConfigError
from recloop.store import Event, Store

MOMENT = 1_700_000_000_000_000


def test_without_the_variable_it_is_the_computers_time() -> None:
    before = time.time()
    assert before - 1 <= clock.now({}) / clock.SECOND <= time.time() + 1


def test_a_file_says_what_time_it_is(tmp_path: Path) -> None:
    for moment in (MOMENT, MOMENT + 1):
        clock.stand(tmp_path / "clock", moment)
        assert clock.now({clock.VARIABLE: str(tmp_path / "clock")}) == moment


def test_the_store_follows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock.stand(tmp_path / "clock", MOMENT)
    monkeypatch.setenv(clock.VARIABLE, str(tmp_path / "clock"))
    with Store.open(f"sqlite:///{tmp_path}/s.sqlite") as store:
        store.add_events([Event(event_id="1", user_id="u", item_id="i", event="click", timestamp=MOMENT)])
        assert store.decide("monitor", "wait", {}).timestamp == MOMENT
        clock.stand(tmp_path / "clock", MOMENT + 5)
        assert store.decide("monitor", "wait", {}).timestamp == MOMENT + 5


@pytest.mark.parametrize("content", [None, "", "yesterday"])
def test_a_file_without_a_time_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "clock").write_text(content)
    with pytest.raises(ConfigError, match=r"RECLOOP_CLOCK names .*, which does not hold a time in microseconds"):
        clock.now({clock.VARIABLE: str(tmp_path / "clock")})
