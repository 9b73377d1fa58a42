from concurrent.futures import ThreadPoolExecutor

from recloop.store import Decision, Deployment, Store

NOW = 1_700_000_000_000_000


def test_the_last_deployment_is_in_charge(store: Store):
    assert store.champion() is None
    first = store.deploy("promote", "aaaa", "ease", "The gate chose it.")
    second = store.deploy("promote", "bbbb", "sasrec", "The gate chose it.")
    third = store.deploy("rollback", "aaaa", "ease", "Clicks fell.")
    assert first == Deployment(
        seq=first.seq,
        timestamp=NOW,
        action="promote",
        bundle="aaaa",
        model="ease",
        previous=None,
        reason="The gate chose it.",
    )
    assert [row.previous for row in (first, second, third)] == [None, "aaaa", "bbbb"]
    assert store.deployments() == [first, second, third]
    assert store.champion() == third


def test_concurrent_deployments_follow_each_other(store: Store):
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: store.deploy("promote", f"{number}", "ease", "Test."), range(30)))
    rows = store.deployments()
    assert [row.previous for row in rows[1:]] == [row.bundle for row in rows[:-1]]


def test_decisions_come_newest_first(store: Store):
    record = {"reasons": ["ünïcode", 1.5, None], "nested": {"drifted": True}}
    first = store.decide("gate", "keep", {})
    second = store.decide("drift", "drift", record)
    assert second == Decision(seq=second.seq, timestamp=NOW, kind="drift", verdict="drift", record=record)
    assert store.decisions() == [second, first]
    assert store.decisions(limit=1) == [second]
