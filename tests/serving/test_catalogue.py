from concurrent.futures import Future
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloop.columns import ITEM
from recloop.models.storage import Trained
from recloop.serving import catalogue
from recloop.serving.bundle import Bundle, write_bundle
from recloop.serving.catalogue import Catalogues, Entry, Index, entries, index_of, known, title_column, words
from recloop.serving.recommender import Recommender
from tests.support.bundles import packaged, train, world

IDS = ["a1", "b2", "c3", "d4", "e5"]
TITLES = ["Star Wars", "Starship Troopers", "Lone Star", None, "Amélie"]
INDEX = Index(IDS, TITLES, np.array([2, 4, 0, 1, 3]))
ATTRIBUTES = pl.DataFrame(
    {
        ITEM: ["item-0", "item-3", "item-4"],
        "Name": ["Zero", "Three", None],
        "categories": [["One", None], None, ["Two"]],
    }
)


def found(query: str, limit: int = 50) -> list[int]:
    return INDEX.search(query, limit).tolist()


@pytest.mark.parametrize(
    ("query", "items"),
    [
        ("star", [2, 0, 1]),
        ("STAR", [2, 0, 1]),
        ("stars", [1]),
        ("star war", [0]),
        ("war star", [0]),
        ("star star", [2, 0, 1]),
        ("ar", []),
        ("star absent", []),
        ("amelie", [4]),
        ("AMÉL", [4]),
        ("d4", [3]),
        ("", [2, 4, 0, 1, 3]),
        (" -!", [2, 4, 0, 1, 3]),
        ("\x00", [2, 4, 0, 1, 3]),
    ],
)
def test_each_word_asked_for_begins_a_word_of_the_item(query: str, items: list[int]):
    assert found(query) == items


def test_the_first_are_found_in_the_given_order():
    assert found("star", 2) == [2, 0]
    assert found("", 1) == [2]


def test_an_empty_catalogue_holds_nothing():
    index = Index([], [], np.array([], dtype=np.int64))
    assert index.search("a", 5).tolist() == index.search("", 5).tolist() == []


@given(st.lists(st.text(max_size=12), min_size=1, max_size=8), st.text(max_size=6))
def test_it_finds_what_reading_every_title_finds(titles: list[str], query: str):
    index = Index([""] * len(titles), titles, np.arange(len(titles)))
    expected = [
        number
        for number, title in enumerate(titles)
        if all(any(own.startswith(word) for own in words(title)) for word in words(query))
    ]
    assert index.search(query, len(titles)).tolist() == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"year": [1], "title": ["t"]}, "title"),
        ({"Name": ["n"], "title": ["t"]}, "Name"),
        ({"title": [7], "name": ["n"]}, "name"),
        ({"label": ["x"]}, None),
    ],
)
def test_titles_are_the_first_text_column_of_that_name(columns: dict[str, list[object]], expected: str | None):
    assert title_column(pl.DataFrame(columns)) == expected


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    model, vocabulary = train("popularity", world())
    trained = Trained(model=model, vocabulary=vocabulary)
    write_bundle(folder, trained=trained, interactions=world(), items=ATTRIBUTES)
    return Bundle.load(folder)


def test_an_item_without_a_title_is_called_by_its_id(bundle: Bundle):
    items = [bundle.vocabulary.index(f"item-{number}") for number in (3, 0, 4, 1)]
    assert entries(bundle, items) == [
        Entry("item-3", "Three", []),
        Entry("item-0", "Zero", ["One"]),
        Entry("item-4", "item-4", ["Two"]),
        Entry("item-1", "item-1", []),
    ]


def test_the_most_used_items_are_found_first(bundle: Bundle):
    counts = world().group_by(ITEM).len().sort(pl.col("len"), ITEM, descending=[True, False])
    best = index_of(bundle).search("item", 5)
    assert bundle.vocabulary.decode(best) == counts[ITEM].head(5).to_list()


def test_ids_are_looked_up_in_one_bundle_after_the_other(bundle: Bundle, tmp_path: Path):
    bare = Bundle.load(packaged(tmp_path / "bare", "popularity", world().filter(pl.col(ITEM) != "item-3")))
    asked = ["item-3", "item-0", "unheard of", "item-0"]
    assert known([bare, bundle], asked) == [Entry("item-0", "item-0", []), Entry("item-3", "Three", [])]
    assert known([bundle, bare], asked) == [Entry("item-3", "Three", []), Entry("item-0", "Zero", ["One"])]
    assert known([], asked) == []


def test_an_index_is_made_once_and_goes_with_its_bundle(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    made = list[Bundle]()

    def making(asked: Bundle) -> Index:
        made.append(asked)
        return index_of(asked)

    monkeypatch.setattr(catalogue, "index_of", making)
    catalogues, recommender = Catalogues(), Recommender(bundle)
    try:
        first: Future[Index] = catalogues.of(recommender)
        assert first.result(30).search("zero", 1).tolist() == [bundle.vocabulary.index("item-0")]
        assert catalogues.of(recommender) is first
        assert made == [bundle]
        del recommender
        assert len(cast("dict[Recommender, object]", catalogues._indices)) == 0
    finally:
        catalogues.close()
