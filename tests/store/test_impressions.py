from dataclasses import asdict, replace

from sqlalchemy import create_engine, select

from recloop.store import Impression, Store
from recloop.store.schema import IMPRESSIONS

FIRST = Impression(
    request_id="r1", position=0, item_id="i9", score=0.25, policy="top_n", bundle="aaaa", timestamp=7, user_id="u1"
)


def stored(url: str) -> list[dict[str, object]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(select(IMPRESSIONS).order_by(IMPRESSIONS.c.request_id, IMPRESSIONS.c.position))
        found = [dict(row) for row in rows.mappings()]
    engine.dispose()
    return found


def test_impressions_are_stored_once(store: Store, url: str):
    second = replace(FIRST, position=1, item_id="i3", propensity=0.5, user_id=None)
    store.add_impressions([second, FIRST])
    store.add_impressions([FIRST])
    store.add_impressions([])
    assert stored(url) == [asdict(FIRST), asdict(second)]
