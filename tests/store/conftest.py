from collections.abc import Iterator
from pathlib import Path

import pytest

from recloop.store import Store


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store whose clock stands still."""
    with Store.open(url, clock=lambda: 1_700_000_000_000_000) as opened:
        yield opened
