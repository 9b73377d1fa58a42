"""Business rules over a hand-made catalogue: a 5 events, b 4, c 3, d 2, e 1."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloop.config import parse
from recloop.data.tables import canonical_interactions
from recloop.errors import ConfigError, DataError
from recloop.models.storage import Trained
from recloop.serving.asking import Ask, Past
from recloop.serving.bundle import Bundle, write_bundle
from recloop.serving.filters import Filter
from recloop.serving.recommender import Recommender, ServeConfig
from recloop.serving.rules import Rules, RulesConfig
from tests.support.bundles import train

PEOPLE = {"ann": "abcde", "bob": "abcd", "cat": "abc", "dan": "ab", "eve": "a"}
DAY = 86_400
EVENTS = [
    {"user_id": user, "item_id": item, "timestamp": DAY * ("abcde".index(item) + 1) + row}
    for row, (user, items) in enumerate(PEOPLE.items())
    for item in items
]
ITEMS = pl.DataFrame(
    {
        "item_id": list("abcde"),
        "title": ["Aa", "Bb", None, "Dd", "Ee"],
        "categories": [["x"], ["x", "y"], ["y"], [], None],
        "year": [1990, 2000, 2010, None, 2020],
        "price": [1.5, 2.5, 3.5, 4.5, None],
        "sold": [True, False, True, False, None],
        "vector": [[0.1, 0.2]] * 5,
    }
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    interactions = canonical_interactions(pl.DataFrame(EVENTS), "hand")
    model, vocabulary = train("popularity", interactions)
    trained = Trained(model=model, vocabulary=vocabulary)
    write_bundle(folder, trained=trained, interactions=interactions, items=ITEMS)
    return Bundle.load(folder)


def rules(bundle: Bundle, **values: Any) -> Rules:
    return Rules(bundle, parse(RulesConfig, values, "serve.rules"))


def shown(bundle: Bundle, asked: dict[str, Any] | None = None, **values: Any) -> str:
    recommender = Recommender(bundle, ServeConfig(rules=parse(RulesConfig, values, "rules")))
    filters = {name: Filter.model_validate(one) for name, one in (asked or {}).items()}
    return "".join(recommender.answer(Ask(k=5, filters=filters, request_id="r")).items.ids)


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({"categories": ["x"]}, "ab"),
        ({"categories": ["x", "y"]}, "abc"),
        ({"categories": {"none_of": ["x"]}}, "cde"),
        ({"categories": {"any_of": ["y"], "none_of": ["x"]}}, "c"),
        ({"title": ["Aa", "Ee", 3]}, "ae"),
        ({"title": {"none_of": ["Aa"]}}, "bcde"),
        ({"year": {"at_least": 2000}}, "bce"),
        ({"year": {"at_least": 2000, "at_most": 2010}}, "bc"),
        ({"year": [1990, 2020.0, 2000.5]}, "ae"),
        ({"price": {"at_most": 2.5}}, "ab"),
        ({"sold": [True]}, "ac"),
        ({"sold": [True, False]}, "abcd"),
        ({"sold": {"none_of": [True]}}, "bde"),
        ({"year": [True]}, ""),
        ({"categories": ["x"], "year": {"at_least": 2000}}, "b"),
        ({"categories": ["nothing is"]}, ""),
        ({}, "abcde"),
    ],
)
def test_only_what_passes_all_filters_is_recommended(bundle: Bundle, filters: dict[str, Any], left: str):
    assert shown(bundle, asked=filters) == left
    assert shown(bundle, filters=filters) == left, "the same as a rule"


@given(
    names=st.sets(st.sampled_from(["x", "y", "z"]), min_size=1),
    low=st.integers(1980, 2030),
    high=st.integers(1980, 2030),
    not_these=st.sets(st.sampled_from(["Aa", "Bb", "Dd"])),
)
def test_filters_say_what_a_loop_over_the_rows_says(
    bundle: Bundle, names: set[str], low: int, high: int, not_these: set[str]
):
    filters = {
        "categories": Filter(any_of=sorted(names)),
        "year": Filter(at_least=low, at_most=high),
        "title": Filter(none_of=sorted(not_these)),
    }
    expected = [
        bool(set(row["categories"] or []) & names)
        and row["year"] is not None
        and low <= row["year"] <= high
        and row["title"] not in not_these
        for row in ITEMS.to_dicts()
    ]
    assert rules(bundle).where(filters).tolist() == expected


def test_there_are_as_many_candidates_as_without_a_filter(bundle: Bundle):
    recommender = Recommender(bundle, ServeConfig(candidates=2))
    asked = {"categories": Filter(none_of=["x"])}
    answer = recommender.answer(Ask(k=2, filters=asked, request_id="r"))
    assert (answer.items.ids, answer.n_candidates) == (["c", "d"], 2)


def test_rules_and_a_request_add_up_with_what_was_seen_and_excluded(bundle: Bundle):
    config = ServeConfig(rules=RulesConfig(exclude=["d", "unheard of"], filters={"year": Filter(at_least=1995)}))
    recommender = Recommender(bundle, config)
    assert recommender.answer(Ask(k=5)).items.ids == ["b", "c", "e"]
    assert recommender.answer(Ask(k=5, exclude=["c"])).items.ids == ["b", "e"]
    assert recommender.answer(Ask(k=5, history=[Past(item_id="b")])).items.ids == ["c", "e"]
    assert recommender.answer(Ask(k=5, filters={"categories": Filter(any_of=["x"])})).items.ids == ["b"]


def test_people_with_different_filters_are_scored_together(bundle: Bundle):
    recommender = Recommender(bundle)
    asks = [
        Ask(k=5),
        Ask(k=5, filters={"categories": Filter(any_of=["y"])}),
        Ask(k=5, filters={"no": Filter(any_of=[])}),
    ]
    one, two, three = recommender.prepare(asks)
    assert isinstance(three, DataError)
    assert [recommender.slate(ready, ask).items.ids for ready, ask in ((one, asks[0]), (two, asks[1]))] == [  # type: ignore[arg-type]
        list("abcde"),
        ["b", "c"],
    ]


def test_filtered_answers_are_not_taken_for_plain_ones(bundle: Bundle):
    recommender = Recommender(bundle)
    filters = {"categories": Filter(any_of=["y"])}
    for _ in range(2):
        assert recommender.answer(Ask(user_id="eve", k=5)).items.ids == list("bcde")
        assert recommender.answer(Ask(user_id="eve", k=5, filters=filters)).items.ids == ["b", "c"]


def test_a_boost_is_in_units_of_the_spread(bundle: Bundle):
    """Scores are 5, 4, 3, 2, 1, so the spread is 4."""
    late = {"year": {"at_least": 2010}}
    assert shown(bundle, boosts=[{"filters": late, "by": 0.3}]) == "acbed", "c 3 + 1.2, e 1 + 1.2"
    assert shown(bundle, boosts=[{"filters": late, "by": 2}]) == "ceabd"
    assert shown(bundle, boosts=[{"filters": late, "by": 1}, {"filters": {"title": ["Ee"]}, "by": 1}]) == "ecabd"
    assert shown(bundle, boosts=[{"filters": {"title": ["Aa"]}, "by": -1}]) == "bcdae", "a and e are equal now"


def test_new_items_are_put_forward_by_their_age(bundle: Bundle):
    """Items first occur a day apart, e last of all, and ages are counted to the newest event."""
    items, scores = rules(bundle, freshness={"by": 1, "half_life_days": 1}).apply(
        np.arange(5), np.array([5, 4, 3, 2, 1], dtype=np.float32)
    )
    newest = max(event["timestamp"] for event in EVENTS)
    first = [min(event["timestamp"] for event in EVENTS if event["item_id"] == item) for item in "abcde"]
    expected = np.array([5 - n + 4 * 0.5 ** ((newest - first[n]) / DAY) for n in range(5)])
    assert items.tolist() == np.argsort(-expected, kind="stable").tolist()
    assert scores == pytest.approx(np.sort(expected)[::-1], rel=1e-5)


def test_of_a_category_come_no_more_than_its_cap(bundle: Bundle):
    assert shown(bundle, caps={"x": 1}) == "acde", "a is the best of x; b, of both, is one too many"
    assert shown(bundle, caps={"x": 1, "y": 0}) == "ade"
    assert shown(bundle, caps={"x": 2, "unheard of": 0}) == "abcde"


def test_scores_of_a_policy_are_the_boosted_ones_and_its_chances_those_of_what_is_left(bundle: Bundle):
    config = ServeConfig(policy="epsilon_slots", policy_options={"epsilon": 1.0}, rules=RulesConfig(caps={"x": 1}))
    answer = Recommender(bundle, config).answer(Ask(k=1, request_id="r"))
    assert (answer.n_candidates, answer.propensities) == (4, [0.25])


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"colour": ["red"]}, "filters: the items have no attribute 'colour'; known ones are: categories, price, sold"),
        ({"title": {"at_least": 3}}, "filters: 'title' is no number, so it has no bounds; ask for any_of or none_of"),
    ],
)
def test_what_cannot_be_asked_is_said(bundle: Bundle, filters: dict[str, Any], sentence: str):
    asked = {name: Filter.model_validate(one) for name, one in filters.items()}
    with pytest.raises(DataError, match=sentence):
        rules(bundle).where(asked)
    with pytest.raises(ConfigError, match=f"{bundle.id}: serve.rules: {sentence}"):
        rules(bundle, filters=filters)


def test_caps_need_categories(tmp_path: Path):
    interactions = canonical_interactions(pl.DataFrame(EVENTS), "hand")
    model, vocabulary = train("popularity", interactions)
    write_bundle(tmp_path / "b", trained=Trained(model=model, vocabulary=vocabulary), interactions=interactions)
    with pytest.raises(ConfigError, match="caps counts categories, but its items have no column 'categories'; ingest"):
        rules(Bundle.load(tmp_path / "b"), caps={"x": 1})


def test_a_filter_that_asks_for_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"rules\.filters\.year is .*asks for nothing; give any_of"):
        parse(RulesConfig, {"filters": {"year": {}}}, "rules")


def test_answers_of_filters_are_kept_and_bounded(bundle: Bundle):
    made = rules(bundle)
    first = made.where({"year": Filter(at_least=0)})
    assert made.where({"year": Filter(at_least=0)}) is first
    for year in range(100):
        made.where({"year": Filter(at_least=year)})
    assert made.where({"year": Filter(at_least=0)}) is not first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = True
