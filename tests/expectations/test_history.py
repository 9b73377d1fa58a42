from pathlib import Path

import pytest

from recloop.errors import DataError
from recloop.expectations.history import fingerprint, previous_rows, remember


def test_the_previous_version_is_the_newest_other_one(tmp_path: Path) -> None:
    log = tmp_path / "history.json"
    assert previous_rows(log, "a") is None
    remember(log, "a", {"interactions": 1})
    assert previous_rows(log, "a") is None
    assert previous_rows(log, "b") == {"interactions": 1}
    remember(log, "b", {"interactions": 2})
    for _ in range(2):
        assert previous_rows(log, "b") == {"interactions": 1}
        remember(log, "b", {"interactions": 2})
    assert previous_rows(log, "c") == {"interactions": 2}
    assert previous_rows(log, "a") == {"interactions": 2}


def test_a_version_that_came_back_is_the_newest(tmp_path: Path) -> None:
    log = tmp_path / "history.json"
    for data, rows in (("a", 1), ("b", 2), ("a", 1)):
        remember(log, data, {"interactions": rows})
    assert previous_rows(log, "a") == {"interactions": 2}
    assert previous_rows(log, "b") == {"interactions": 1}


@pytest.mark.parametrize("text", ['{"versions": 3}', '{"versions": [{"data": 1, "rows": {}}]}', "{}"])
def test_a_log_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    log = tmp_path / "history.json"
    log.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"history\.json is not a log of validated versions; delete it"):
        previous_rows(log, "a")


def test_the_fingerprint_follows_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "interactions").mkdir()
    part = tmp_path / "interactions" / "1.parquet"
    part.write_bytes(b"one")
    (tmp_path / "items.parquet").write_bytes(b"two")
    (tmp_path / "README.md").write_text("not data", encoding="utf-8")
    before = fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("changed", encoding="utf-8")
    assert fingerprint(tmp_path) == before
    part.rename(part.with_name("2.parquet"))
    renamed = fingerprint(tmp_path)
    assert renamed != before
    (tmp_path / "items.parquet").write_bytes(b"three")
    assert fingerprint(tmp_path) not in {before, renamed}
