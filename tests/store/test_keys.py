"""API keys and the audit in the store."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from recloop.errors import ConfigError
from recloop.store import Store

NOW = 1_700_000_000_000_000


def audited(store: Store) -> list[tuple[str, str, str, str | None]]:
    return [(row.actor, row.action, row.outcome, row.subject) for row in store.audited()]


def test_a_key_is_known_by_its_digest_alone(store: Store) -> None:
    key, secret = store.create_key("shop", ["feedback", "recommend"], rate=2.5)
    assert secret.startswith(f"recloop_{key.id}_")
    assert key.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert (key.scopes, key.rate, key.burst) == (("recommend", "feedback"), 2.5, 2)
    assert (key.created, key.revoked) == (NOW, None)
    assert store.api_keys() == [key]


def test_the_database_does_not_hold_the_key(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with Store.open(f"sqlite:///{file}") as store:
        key, secret = store.create_key("shop", ["admin"])
    engine = create_engine(make_url(f"sqlite:///{file}"))
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    content = file.read_bytes()
    assert key.digest.encode() in content
    assert secret.rpartition("_")[2].encode() not in content


def test_no_two_keys_are_the_same(store: Store) -> None:
    made = [store.create_key("same", ["recommend"]) for _ in range(3)]
    assert len({secret for _, secret in made}) == len({key.id for key, _ in made}) == 3
    assert [key.id for key in store.api_keys()] == [key.id for key, _ in made]


def test_a_revoked_key_stays_with_the_moment(url: str) -> None:
    moments = iter([10, 20, 30, 40])
    with Store.open(url, clock=lambda: next(moments)) as store:
        first, _ = store.create_key("first", ["recommend"])
        second, _ = store.create_key("second", ["recommend"])
        assert store.revoke_key(first.id).revoked == 30
        assert store.revoke_key(first.id).revoked == 30, "the first time counts"
        assert [(key.id, key.revoked) for key in store.api_keys()] == [(first.id, 30), (second.id, None)]
        assert audited(store) == [
            ("command line", "revoke key", "done", first.id),
            ("command line", "create key", "done", second.id),
            ("command line", "create key", "done", first.id),
        ]
        assert [row.timestamp for row in store.audited(limit=2)] == [30, 20]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((" ", ["admin"], None, None), "A key needs a name; say whose it is or what for."),
        (("a", [], None, None), "A key without a scope may do nothing; give it some of: recommend, feedback, admin."),
        (("a", ["root"], None, None), "There is no scope 'root'; choose from: recommend, feedback, admin."),
        (("a", ["admin"], 0.0, None), "A rate of 0 requests a second is no limit; give a positive number, or none"),
        (("a", ["admin"], float("nan"), None), "A rate of nan requests a second is no limit"),
        (("a", ["admin"], None, 3), "A burst of 3 needs a rate and at least 1; give both, or neither."),
        (("a", ["admin"], 2.0, 0), "A burst of 0 needs a rate and at least 1"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(
    store: Store, given: tuple[str, list[str], float | None, int | None], sentence: str
) -> None:
    name, scopes, rate, burst = given
    with pytest.raises(ConfigError) as caught:
        store.create_key(name, scopes, rate=rate, burst=burst)
    assert str(caught.value).startswith(sentence)
    assert store.api_keys() == []
    assert store.audited() == []


def test_a_key_that_does_not_exist_cannot_be_revoked(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"There is no key 'abc'; 'recloop keys list' shows"):
        store.revoke_key("abc")
    assert store.audited() == []


def test_an_erasure_leaves_its_digest_in_the_audit(store: Store) -> None:
    first = store.erase("ana@example.org", "ana@example.org, by letter")
    second = store.erase("ben", "ticket 7", actor="0a1b2c")
    store.audit(actor="0a1b2c", action="forget", outcome="refused")
    store.expire(before=NOW, held=0, asked_by="the rule")
    assert audited(store) == [
        ("command line", "expire", "done", None),
        ("0a1b2c", "forget", "refused", None),
        ("0a1b2c", "forget", "done", second.digest),
        ("command line", "forget", "done", first.digest),
    ]
    assert "ana" not in repr(store.audited())
