"""Popularity of a hand-made world: a 5 events, b 4, c 3, d 2, e 1."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.pseudonyms import Pseudonyms
from recloop.data.tables import Attributes, canonical_interactions
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ConfigError, DataError
from recloop.models import find
from recloop.models.base import FitContext, TrainingData
from recloop.models.storage import Trained
from recloop.policies import Clicks, ScoredClicks
from recloop.serving.asking import Ask, Past, Scored
from recloop.serving.bundle import Bundle, write_bundle
from recloop.serving.recommender import Recommender, ServeConfig, UnknownItemError, digest, seed_of
from tests.support.bundles import popularity_bundle, train

EVENTS = {"ann": "abcde", "bob": "abcd", "cat": "abc", "dan": "ab", "eve": "a"}
INTERACTIONS = canonical_interactions(
    pl.DataFrame(
        [
            {"user_id": user, "item_id": item, "timestamp": 100 * row + place}
            for row, (user, items) in enumerate(EVENTS.items())
            for place, item in enumerate(items)
        ]
    ),
    "hand",
)
STRANGER = INTERACTIONS.head(1).with_columns(pl.lit("fay").alias("user_id"), pl.lit("z").alias("item_id"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    model, vocabulary = train("popularity", INTERACTIONS)
    known = pl.concat([INTERACTIONS, STRANGER])
    write_bundle(folder, trained=Trained(model=model, vocabulary=vocabulary), interactions=known)
    return Bundle.load(folder)


@pytest.fixture(scope="module")
def recommender(bundle: Bundle) -> Recommender:
    return Recommender(bundle)


def ids(items: list[Scored]) -> str:
    return "".join(item.item_id for item in items)


def test_a_known_user_gets_what_is_new_to_them(recommender: Recommender) -> None:
    answer = recommender.recommend(user_id="cat", k=10)
    assert answer.items == [Scored(item_id="d", score=2.0), Scored(item_id="e", score=1.0)]
    assert (answer.fallback, answer.ignored) == (None, 0)


def test_a_user_who_has_seen_everything_gets_nothing(recommender: Recommender) -> None:
    assert recommender.recommend(user_id="ann").items == []


@pytest.mark.parametrize("user_id", [None, "nobody-knows-me", "eve"])
def test_a_given_history_counts_for_anybody_and_replaces_what_is_stored(
    recommender: Recommender, user_id: str | None
) -> None:
    answer = recommender.recommend(user_id=user_id, history=[Past(item_id="b"), Past(item_id="d")], k=2)
    assert (ids(answer.items), answer.fallback) == ("ac", None)


def test_nobody_gets_the_same_as_everybody(recommender: Recommender) -> None:
    answer = recommender.recommend(k=3)
    assert (ids(answer.items), answer.fallback) == ("abc", "nobody")


def test_an_unknown_user_without_history_is_said_to_be_unknown(recommender: Recommender) -> None:
    answer = recommender.recommend(user_id="zoe", k=3)
    assert (ids(answer.items), answer.fallback) == ("abc", "unknown_user")


def test_unknown_items_of_a_history_are_ignored_and_counted(recommender: Recommender) -> None:
    answer = recommender.recommend(history=[Past(item_id="x"), Past(item_id="a"), Past(item_id="y")], k=2)
    assert (ids(answer.items), answer.fallback, answer.ignored) == ("bc", None, 2)


@pytest.mark.parametrize("user_id", [None, "cat", "zoe"])
def test_a_history_without_an_item_of_the_catalogue_is_no_ground(recommender: Recommender, user_id: str | None) -> None:
    assert recommender.recommend(user_id=user_id, history=[]).fallback == "empty_history"
    answer = recommender.recommend(user_id=user_id, history=[Past(item_id="x")], k=1)
    assert (ids(answer.items), answer.fallback, answer.ignored) == ("a", "empty_history", 1)


def test_a_known_user_whose_items_are_all_unknown_has_an_empty_history(recommender: Recommender) -> None:
    answer = recommender.recommend(user_id="fay", k=1)
    assert (ids(answer.items), answer.fallback) == ("a", "empty_history")


def test_excluded_items_are_left_out_and_unknown_ones_do_no_harm(recommender: Recommender) -> None:
    answer = recommender.recommend(user_id="eve", exclude=["b", "unheard-of", "b"], k=2)
    assert ids(answer.items) == "cd"


def test_no_more_items_than_there_are(recommender: Recommender) -> None:
    assert ids(recommender.recommend(k=100).items) == "abcde"


def test_seen_items_may_be_shown_if_configured(bundle: Bundle) -> None:
    recommender = Recommender(bundle, ServeConfig(mask_seen=False))
    assert ids(recommender.recommend(user_id="cat").items) == "abcde"


def test_the_configuration_comes_from_the_bundle(tmp_path: Path) -> None:
    folder = popularity_bundle(tmp_path / "bundle", INTERACTIONS, params={"serve": {"mask_seen": False}})
    assert Recommender(Bundle.load(folder)).config == ServeConfig(mask_seen=False)


def test_an_unknown_policy_is_refused_with_the_valid_names(tmp_path: Path) -> None:
    folder = popularity_bundle(tmp_path / "bundle", INTERACTIONS, params={"serve": {"policy": "magic"}})
    with pytest.raises(ConfigError, match=r"params\.serve\.policy is 'magic', but .*one of: .*top_n"):
        Recommender(Bundle.load(folder))


def test_a_history_is_put_in_the_order_of_its_times(recommender: Recommender) -> None:
    history = [
        Past(item_id="c", timestamp=30, value=3.0),
        Past(item_id="x", timestamp=20),
        Past(item_id="a", timestamp=10, value=1.0),
        Past(item_id="b", timestamp=10, value=2.0),
    ]
    context, ignored = recommender._encode(history)
    assert recommender.bundle.vocabulary.decode(context.items) == ["a", "b", "c"]
    assert context.timestamps.tolist() == [10, 10, 30]
    assert context.values.tolist() == [1.0, 2.0, 3.0]
    assert (context.offsets.tolist(), ignored) == ([0, 3], 1)


def test_a_history_without_times_is_in_order(recommender: Recommender) -> None:
    context, _ = recommender._encode([Past(item_id="c"), Past(item_id="a")])
    assert recommender.bundle.vocabulary.decode(context.items) == ["c", "a"]
    assert context.timestamps.tolist() == [0, 1]


def test_times_on_some_events_only_are_refused(recommender: Recommender) -> None:
    with pytest.raises(DataError, match="history: either every event has a timestamp or none has; add the missing"):
        recommender.recommend(history=[Past(item_id="a", timestamp=1), Past(item_id="b")])


def test_similar_leaves_the_item_itself_out(recommender: Recommender) -> None:
    assert recommender.similar("a", k=2) == [Scored(item_id="b", score=4.0), Scored(item_id="c", score=3.0)]
    assert ids(recommender.similar("c", k=100)) == "abde"


def test_items_like_an_unknown_one_are_not_known(recommender: Recommender) -> None:
    with pytest.raises(UnknownItemError, match="item_id 'x' is not in the catalogue; ask for an item that the model"):
        recommender.similar("x")


@pytest.fixture(scope="module")
def featured(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """Popularity by attribute: who is tall takes a and b, who is small takes c and d; e is everybody's favourite."""
    tastes = {"tall": "abe", "small": "cde"}
    people = pl.DataFrame([{"user_id": f"{kind}-{n}", "size": kind} for kind in tastes for n in range(4)])
    interactions = canonical_interactions(
        pl.DataFrame(
            [
                {"user_id": row["user_id"], "item_id": item, "timestamp": place}
                for row in people.iter_rows(named=True)
                for place, item in enumerate(tastes[row["size"]])
            ]
        ),
        "hand",
    )
    vocabulary, kind = Vocabulary(interactions["item_id"]), find("segment_popularity")
    model = kind(kind.Config.model_validate({"segments": 2, "shrink": 0.1}), len(vocabulary))
    attributes = Attributes(users=people)
    data = TrainingData.from_tables(interactions, vocabulary, attributes)
    model.fit(data, FitContext(device=torch.device("cpu")))
    folder = tmp_path_factory.mktemp("featured") / "bundle"
    write_bundle(folder, trained=Trained(model=model, vocabulary=vocabulary), interactions=interactions, people=people)
    return Recommender(Bundle.load(folder), ServeConfig(mask_seen=False))


@pytest.mark.parametrize("history", [None, [], [Past(item_id="c")], [Past(item_id="unheard-of")]])
def test_features_of_a_known_user_count_whatever_the_history(featured: Recommender, history: list[Past] | None) -> None:
    assert set(ids(featured.recommend(user_id="tall-1", history=history, k=3).items)) == set("abe")
    assert set(ids(featured.recommend(user_id="small-2", history=history, k=3).items)) == set("cde")


@pytest.mark.parametrize("user_id", [None, "zoe"])
@pytest.mark.parametrize("history", [None, [Past(item_id="a")]])
def test_of_strangers_no_features_are_known(
    featured: Recommender, user_id: str | None, history: list[Past] | None
) -> None:
    answer = featured.recommend(user_id=user_id, history=history, k=5)
    assert answer.items[0].item_id == "e"
    assert len({round(item.score, 6) for item in answer.items[1:]}) == 1


def test_a_policy_chooses_among_the_best_and_says_how_likely_the_slate_was(bundle: Bundle) -> None:
    """Of the best two, a and b, each stands first with probability one half."""
    config = ServeConfig(policy="epsilon_slots", policy_options={"epsilon": 1.0}, candidates=2)
    answers = [Recommender(bundle, config).recommend(k=1, request_id=f"request {number}") for number in range(40)]
    assert {ids(answer.items) for answer in answers} == {"a", "b"}
    assert {(*answer.propensities, answer.exact, answer.n_candidates) for answer in answers} == {(0.5, True, 2)}


def test_a_slate_longer_than_the_number_of_candidates_gets_as_many_as_it_has_places(bundle: Bundle) -> None:
    answer = Recommender(bundle, ServeConfig(candidates=2)).recommend(k=3)
    assert (ids(answer.items), answer.n_candidates, answer.propensities) == ("abc", 3, [1.0, 1.0, 1.0])


def test_a_request_is_reproduced_by_its_id_and_the_salt(bundle: Bundle) -> None:
    config = ServeConfig(policy="plackett_luce", policy_options={"temperature": 10.0})
    recommender = Recommender(bundle, config)
    first, again = (recommender.recommend(k=4, request_id="r-1") for _ in range(2))
    assert first == again
    assert len({ids(recommender.recommend(k=4, request_id=f"r-{number}").items) for number in range(30)}) > 5
    salted = Recommender(bundle, config.model_copy(update={"salt": "spring"})).recommend(k=4, request_id="r-1")
    assert salted.seed == seed_of("r-1", "spring") != first.seed


def test_a_seed_is_a_number_that_a_generator_and_the_store_take() -> None:
    assert seed_of("a", "b") == seed_of("a", "b")
    assert len({seed_of("a", "b"), seed_of("b", "a"), seed_of("ba"), seed_of("a", "")}) == 4
    assert all(0 <= seed_of(str(number)) < 2**63 for number in range(200))


def test_a_digest_tells_ids_order_and_scores_apart_but_not_the_last_digits() -> None:
    scores = np.array([2.0, 1.0], dtype=np.float32)
    one = digest(["a", "b"], scores)
    assert len(one) == 16
    assert digest(["a", "b"], scores + np.float32(1e-6)) == one
    others = [digest(["b", "a"], scores), digest(["ab", ""], scores), digest(["a", "b"], scores + np.float32(0.01))]
    assert one not in others


def test_options_of_a_policy_are_checked_and_the_key_is_named(tmp_path: Path) -> None:
    serve = {"policy": "plackett_luce", "policy_options": {"temperatur": 2}}
    folder = popularity_bundle(tmp_path / "bundle", INTERACTIONS, params={"serve": serve})
    with pytest.raises(ConfigError, match=r"plackett_luce\.temperatur is not a known parameter; known ones are: stand"):
        Recommender(Bundle.load(folder))
    with pytest.raises(ValueError, match=r"plackett_luce\.temperature is -1, but input should be greater"):
        ServeConfig(policy="plackett_luce", policy_options={"temperature": -1})


@pytest.mark.parametrize(
    ("user", "until", "fallback"),
    [
        ("cat", 200 * 1_000_000, "unknown_user"),
        ("cat", 202 * 1_000_000, "unknown_user"),
        ("cat", 200 * 1_000_000 - 1, None),
        ("fay", 0, "unknown_user"),
        ("fay", None, "empty_history"),
        ("nobody known", 0, "unknown_user"),
    ],
)
def test_an_erased_user_is_unknown_until_the_bundle_holds_only_later_events(
    bundle: Bundle, user: str, until: int | None, fallback: str | None
) -> None:
    asked = list[str]()

    def erased(name: str) -> int | None:
        asked.append(name)
        return until

    recommender = Recommender(bundle, erased=erased)
    answer = recommender.recommend(user_id=user, k=5)
    assert answer.fallback == fallback
    assert [item.item_id for item in answer.items] == (list("de") if fallback is None else list("abcde"))
    assert set(asked) <= {user}
    with_history = recommender.recommend(user_id=user, history=[Past(item_id="a")], k=5)
    assert [item.item_id for item in with_history.items] == list("bcde")


def test_a_bundle_of_pseudonyms_knows_people_by_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Pseudonyms(variable="SECRET", key=b"k" * 32)
    folder = popularity_bundle(tmp_path / "bundle", names.in_frame(INTERACTIONS), pseudonyms=names.record())
    with pytest.raises(ConfigError, match="SECRET is not set"):
        Recommender(Bundle.load(folder))
    monkeypatch.setenv("SECRET", "k" * 32)
    recommender = Recommender(Bundle.load(folder))
    assert recommender.stored_id("cat") == names.of("cat")
    assert recommender.stored_id(None) is None
    assert recommender.recommend(user_id=recommender.stored_id("cat")).fallback is None
    assert recommender.recommend(user_id="cat").fallback == "unknown_user"


def test_ids_are_kept_where_the_bundle_says_nothing_of_pseudonyms(bundle: Bundle) -> None:
    assert Recommender(bundle).stored_id("cat") == "cat"


class Later:
    """What people did since."""

    def __init__(self) -> None:
        self.events: dict[str, list[Past]] = {}
        self.asked = 0

    def since(self, user_id: str, seq: int) -> list[Past]:
        assert seq == 7
        self.asked += 1
        return self.events.get(user_id, [])

    def version(self, user_id: str) -> int:
        return len(self.events.get(user_id, []))


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("lively") / "bundle"
    return Bundle.load(popularity_bundle(folder, INTERACTIONS, data={"feedback": 7}))


def test_who_was_scored_is_not_scored_again_until_they_do_something(lively: Bundle) -> None:
    later = Later()
    recommender = Recommender(lively, live=later)
    first, again = (recommender.recommend(user_id="dan", k=2) for _ in range(2))
    assert later.asked == 1
    assert (first.items, first.candidates) == (again.items, again.candidates)
    assert first.seed != again.seed
    assert ids(recommender.recommend(user_id="dan", k=1).items) == "c", "fewer of the same candidates"
    assert later.asked == 1
    later.events["dan"] = [Past(item_id="c", timestamp=10**12)]
    assert ids(recommender.recommend(user_id="dan", k=2).items) == "de"
    assert later.asked > 1


def test_who_was_erased_is_a_stranger_at_once(lively: Bundle) -> None:
    erased: dict[str, int] = {}
    recommender = Recommender(lively, erased=erased.get)
    assert recommender.recommend(user_id="dan").fallback is None
    erased["dan"] = 10**15
    assert recommender.recommend(user_id="dan").fallback == "unknown_user"
    assert ids(recommender.recommend(user_id="dan").items) == "abcde"


def test_a_history_or_exclusions_are_scored_as_they_come(lively: Bundle) -> None:
    recommender = Recommender(lively)
    assert ids(recommender.recommend(user_id="dan").items) == "cde"
    assert ids(recommender.recommend(user_id="dan", exclude=["d"]).items) == "ce"
    assert ids(recommender.recommend(user_id="dan", history=[Past(item_id="c")]).items) == "abde"
    assert ids(recommender.recommend(user_id="dan").items) == "cde"
    assert recommender.ready(Ask(user_id="dan")) is not None
    assert recommender.ready(Ask(user_id="dan", exclude=["d"])) is None
    assert recommender.ready(Ask(user_id="dan", history=[])) is None
    assert recommender.ready(Ask(user_id="dan", k=1_000)) is None, "more than the candidates that are kept"


def test_as_many_people_are_kept_as_the_parameters_say(lively: Bundle) -> None:
    recommender = Recommender(lively, ServeConfig(cache=2))
    for user in ("ann", "bob", "ann", "cat", None):
        recommender.recommend(user_id=user)
    kept = [user for user in ("ann", "bob", "cat", None) if recommender.ready(Ask(user_id=user))]
    assert kept == ["cat", None], "the last two"
    none = Recommender(lively, ServeConfig(cache=0))
    none.recommend(user_id="ann")
    assert none.ready(Ask(user_id="ann")) is None


def test_a_policy_that_draws_draws_for_every_request(lively: Bundle) -> None:
    config = ServeConfig(policy="plackett_luce", policy_options={"temperature": 10.0})
    kept, fresh = Recommender(lively, config), Recommender(lively, config.model_copy(update={"cache": 0}))
    answers = [kept.recommend(k=4, request_id=f"r-{number}") for number in range(30)]
    assert len({ids(answer.items) for answer in answers}) > 5
    assert answers == [fresh.recommend(k=4, request_id=f"r-{number}") for number in range(30)]


def test_a_policy_that_learns_chooses_anew_for_every_request(lively: Bundle) -> None:
    told = [Clicks(clicks=np.zeros(5), examined=np.zeros(5))]

    class Changing:
        def clicks(self, item_ids: Sequence[str]) -> Clicks:
            return told[0].take(np.array(["abcde".index(item) for item in item_ids]))

        def scored_clicks(self, bundle: str, item_ids: Sequence[str]) -> ScoredClicks:
            raise AssertionError("nobody asks for this")

    config = ServeConfig(policy="thompson", policy_options={"draws": 10})
    recommender = Recommender(lively, config, clicks=Changing())
    before = [ids(recommender.recommend(k=1, request_id=f"r-{number}").items) for number in range(40)]
    told[0] = Clicks(clicks=np.array([0, 0, 0, 0, 500.0]), examined=np.full(5, 1_000.0))
    after = [ids(recommender.recommend(k=1, request_id=f"r-{number}").items) for number in range(40)]
    assert before.count("e") < after.count("e") == 40
