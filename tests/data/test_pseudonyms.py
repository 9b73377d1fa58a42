import hashlib
import hmac
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloop.data.pseudonyms import Pseudonyms, from_record, recorded, require_pseudonyms, write_record
from recloop.errors import ConfigError, DataError

KEY = "0123456789abcdef" * 2
NAMES = Pseudonyms(variable="SECRET", key=KEY.encode())


def test_a_pseudonym_is_the_first_half_of_the_hmac() -> None:
    whole = hmac.new(KEY.encode(), "user:Zoë".encode(), hashlib.sha256).hexdigest()
    assert NAMES.of("Zoë") == whole[:32]
    assert NAMES.check == hmac.new(KEY.encode(), b"check:", hashlib.sha256).hexdigest()[:16]


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_ids_have_two_pseudonyms(one: str, other: str) -> None:
    assert (NAMES.of(one) == NAMES.of(other)) == (one == other)
    assert NAMES.of(one) != Pseudonyms(variable="SECRET", key=b"other" * 8).of(one)


def test_a_frame_keeps_its_rows_and_its_missing_ids() -> None:
    frame = pl.DataFrame({"item_id": ["i", "j", "k"], "user_id": ["a", None, "a"]})
    assert NAMES.in_frame(frame).rows() == [("i", NAMES.of("a")), ("j", None), ("k", NAMES.of("a"))]


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", KEY)
    assert Pseudonyms.from_environment("SECRET") == NAMES
    assert Pseudonyms.from_environment("SECRET", NAMES.check) == NAMES
    assert KEY not in repr(NAMES)


@pytest.mark.parametrize(("value", "problem"), [("", "is not set"), ("k" * 31, "has only 31 characters")])
def test_a_key_that_is_missing_or_short_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, problem: str) -> None:
    monkeypatch.setenv("SECRET", value)
    with pytest.raises(ConfigError) as caught:
        Pseudonyms.from_environment("SECRET")
    assert str(caught.value) == (
        f"The key of the pseudonyms in the environment variable SECRET {problem}, and 32 are needed; set the key, or "
        f"make the first one with 'openssl rand -hex 32'."
    )


def test_another_key_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert recorded(tmp_path) is None
    write_record(NAMES, tmp_path)
    record = recorded(tmp_path)
    assert record == {"variable": "SECRET", "check": NAMES.check, "digits": 32}
    assert KEY not in json.dumps(record)
    monkeypatch.setenv("SECRET", KEY)
    assert from_record(record) == NAMES
    monkeypatch.setenv("SECRET", "x" * 32)
    with pytest.raises(ConfigError) as caught:
        from_record(record)
    assert str(caught.value) == (
        "The key in the environment variable SECRET is not the one that the pseudonyms were made with; set that key."
    )


def test_raw_ids_are_refused_and_not_repeated() -> None:
    require_pseudonyms(pl.DataFrame({"user_id": [NAMES.of("a"), None]}), "it")
    with pytest.raises(DataError) as caught:
        require_pseudonyms(pl.DataFrame({"user_id": [NAMES.of("a"), "ana", "ben", "ana"]}), "The batch")
    assert str(caught.value) == (
        "The batch holds 2 user id(s) that are no pseudonyms, though 'ingest.pseudonyms' asks for them: a service took "
        "them whose bundle has none; begin with an empty store."
    )
