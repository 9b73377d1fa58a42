import json
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from recloop.config import parse
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ConfigError
from recloop.evaluation.questions import Questions, ask
from recloop.evaluation.ranking import METRICS, EvaluateConfig, categories, evaluate, providers
from recloop.evaluation.slices import SLICES
from recloop.metrics import parse as parse_metric
from recloop.retrieval import exact
from tests.evaluation.conftest import Fixed, Ratings

Parts = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
CATALOGUE = Vocabulary(["i1", "i2", "i3", "i4"])
SCORES = [0.4, 0.1, 0.3, 0.2]  # i1, i3, i4, i2

# question (context without unknown ids)   ranking            target   rank
# ann  day 5 (i1 i2 i3)                    i4                 i4       0
# ann  day 7 (i1 i2 i3 i4 i1)              nothing            i5       -
# bob  day 5 (i1)                          i3 i4 i2           i2       2
# carl day 5 ()                            i1 i3 i4 i2        i1       0
# carl day 5 ()                            i1 i3 i4 i2        i3       1
# carl day 8 (i1 i3)                       i4 i2              i6       -


@pytest.fixture
def questions(parts: Parts) -> Questions:
    return ask(*parts, targets="successive")


def settings(*metrics: str, **values: object) -> EvaluateConfig:
    return parse(EvaluateConfig, {"metrics": list(metrics), "bootstrap_samples": 200} | values, "params.yaml: evaluate")


def test_metrics_are_means_over_the_questions_of_a_user_then_over_users(questions: Questions) -> None:
    result = evaluate(Fixed(SCORES), CATALOGUE, questions, settings("hit@2", "mrr"))
    assert result.users.to_dict(as_series=False) == {
        "user_id": ["ann", "bob", "carl"],
        "hit@2": pytest.approx([1 / 2, 0, 2 / 3]),
        "mrr": pytest.approx([1 / 2, 1 / 3, (1 + 1 / 2) / 3]),
        "examples": [2, 1, 3],
    }
    assert result.metrics == {"hit@2": pytest.approx(7 / 18), "mrr": pytest.approx(4 / 9)}
    assert (result.examples, result.available, result.unknown) == (6, 6, 2)
    low, high = result.ci95["hit@2"]
    assert 0 <= low < 7 / 18 < high <= 2 / 3


def test_an_undefined_question_is_left_out_of_its_users_mean(questions: Questions) -> None:
    # Novelty of an empty slate is undefined: ann's second question. Of 3 training events i1 has 2, i2 has 1; i3 and i4
    # have none and count as one.
    result = evaluate(Fixed(SCORES), CATALOGUE, questions, settings("novelty@1"))
    rare, common = np.log2(3), np.log2(3 / 2)
    assert result.users["novelty@1"].to_list() == pytest.approx([rare, rare, (common + common + rare) / 3])


def test_metrics_of_the_catalogue_have_no_interval(questions: Questions) -> None:
    result = evaluate(Fixed(SCORES), CATALOGUE, questions, settings("coverage@1", "gini@1"))
    # First places: i4, none, i3, i1, i1, i4.
    assert result.metrics["coverage@1"] == 3 / 4
    # Sorted exposure 0 1 2 2: (-3*0 - 1*1 + 1*2 + 3*2) / (4 * 5)
    assert result.metrics["gini@1"] == pytest.approx(7 / 20)
    assert result.ci95 == {}
    assert result.users.columns == ["user_id", "examples"]


def test_slices_are_evaluated_alone(questions: Questions) -> None:
    result = evaluate(Fixed(SCORES), CATALOGUE, questions, settings("coverage@1", "hit@2", "mrr"))
    assert result.slices["new_users"] == {"users": 1, "examples": 3, "hit@2": pytest.approx(2 / 3)}
    # Every question but ann's second has fewer than five events before it.
    assert result.slices["cold_users"] == {"users": 3, "examples": 5, "hit@2": pytest.approx((1 + 0 + 2 / 3) / 3)}
    # Head: i1 and i2, as i1 has 2 of 3 events and i2 is needed for 80%.
    assert result.slices["tail_items"] == {"users": 2, "examples": 4, "hit@2": pytest.approx((1 / 2 + 1 / 2) / 2)}
    assert set(result.slices) == set(SLICES)


def test_an_empty_slice_has_no_metric(many: Parts) -> None:
    train, valid, test = many
    known = test.filter(pl.col("user_id").is_in(train["user_id"].implode()))
    questions = ask(train, valid, known, targets="successive")
    result = evaluate(Fixed(np.arange(25)), Vocabulary(train["item_id"]), questions, settings("hit@2"))
    assert result.slices["new_users"] == {"users": 0, "examples": 0}


def test_slates_can_be_asked_for_again(questions: Questions) -> None:
    result = evaluate(Fixed(SCORES), CATALOGUE, questions, settings("hit@2", k=3))
    assert result.slates["user_id"].to_list() == ["ann", "ann", "bob", "carl", "carl", "carl"]
    assert result.slates["timestamp"][1] == datetime(1970, 1, 8, tzinfo=UTC)
    assert result.slates["items"].to_list() == [
        ["i4"],
        None,
        ["i3", "i4", "i2"],
        ["i1", "i3", "i4"],
        ["i1", "i3", "i4"],
        ["i4", "i2"],
    ]
    assert result.slates["scores"][2].to_list() == pytest.approx([0.3, 0.2, 0.1])


def test_few_slates_are_evenly_spaced(questions: Questions) -> None:
    result = evaluate(Fixed(SCORES), CATALOGUE, questions, settings("hit@2", max_slates=2))
    assert result.slates["user_id"].to_list() == ["ann", "carl"]
    none = evaluate(Fixed(SCORES), CATALOGUE, questions, settings("hit@2", max_slates=0))
    assert none.slates.columns == ["user_id", "timestamp", "items", "scores"]
    assert none.slates.height == 0


def test_what_was_seen_may_come_again_if_wanted(parts: Parts) -> None:
    questions = ask(*parts, targets="successive", mask_seen=False)
    result = evaluate(Fixed(SCORES), CATALOGUE, questions, settings("hit@1"))
    # i1 is first for everybody; it is the answer of ann's second of three questions and carl's first of three.
    assert result.users["hit@1"].to_list() == pytest.approx([1 / 3, 0, 1 / 3])


def test_diversity_needs_categories(questions: Questions) -> None:
    config = settings("hit@2", "diversity@2")
    plain = evaluate(Fixed(SCORES), CATALOGUE, questions, config)
    assert "diversity@2" not in plain.metrics
    assert "diversity@2" not in plain.users.columns
    items = pl.DataFrame({"item_id": ["i1", "i2", "i3", "i4", "i9"], "categories": [["a"], ["b"], ["b"], ["b"], ["c"]]})
    result = evaluate(Fixed(SCORES), CATALOGUE, questions, config, items=items)
    # Two places: bob i3 i4 (alike), carl twice i1 i3 (unlike) and i4 i2 (alike); ann never has two items.
    assert result.users["diversity@2"].to_list() == [None, pytest.approx(0), pytest.approx(2 / 3)]
    assert result.metrics["diversity@2"] == pytest.approx(1 / 3)


def test_categories_of_the_catalogue() -> None:
    items = pl.DataFrame({"item_id": ["i9", "i2", "i1"], "categories": [["c"], ["b", "a", "b"], None]})
    matrix = categories(items, Vocabulary(["i1", "i2"]))
    assert matrix is not None
    assert matrix.toarray().tolist() == [[0, 0, 0], [1, 1, 0]]
    assert categories(items.drop("categories"), CATALOGUE) is None


def test_a_single_category_as_text_is_one_category() -> None:
    items = pl.DataFrame({"item_id": ["i1", "i2"], "categories": ["a", "b"]})
    matrix = categories(items, Vocabulary(["i1", "i2"]))
    assert matrix is not None
    assert matrix.toarray().tolist() == [[1, 0], [0, 1]]


def test_categories_may_be_lists_of_one_length() -> None:
    kinds = {"item_id": pl.String, "categories": pl.Array(pl.String, 2)}
    items = pl.DataFrame({"item_id": ["i1", "i2"], "categories": [["a", "b"], ["c", "b"]]}, schema=kinds)
    assert categories(items, Vocabulary(["i1", "i2"])).toarray().tolist() == [[1, 1, 0], [0, 1, 1]]


def test_errors_of_ratings_are_for_models_of_ratings(questions: Questions) -> None:
    assert "mae" not in evaluate(Fixed(SCORES), CATALOGUE, questions, settings("hit@2", "mae")).metrics
    result = evaluate(Ratings([4.0, 3.0, 2.0, 1.0]), CATALOGUE, questions, settings("hit@2", "mae"))
    # The rating is the day. Known targets: ann i4 5 (1), bob i2 5 (3), carl i1 5 (4) and i3 5 (2).
    assert result.users["mae"].to_list() == pytest.approx([4, 2, 2])
    assert "mae" not in result.slices["new_users"]


def test_ratings_of_unknown_items_are_nobodys_error(questions: Questions) -> None:
    result = evaluate(Ratings([4.0, 3.0]), Vocabulary(["i2", "i8"]), questions, settings("mae"))
    assert result.users["mae"].to_list() == [None, 1.0, None]
    nothing = evaluate(Ratings([4.0, 3.0]), Vocabulary(["i7", "i8"]), questions, settings("mae"))
    assert nothing.metrics == {}


def test_an_older_catalogue_answers_the_same_questions(questions: Questions) -> None:
    config = settings("hit@2")
    new = evaluate(Fixed(SCORES), CATALOGUE, questions, config)
    old = evaluate(Fixed([0.5, 0.6, 0.7]), Vocabulary(["gone", "i1", "i2"]), questions, config)
    assert old.users["user_id"].equals(new.users["user_id"])
    assert old.users["examples"].equals(new.users["examples"])
    assert old.questions == new.questions
    assert old.unknown == 4


def test_no_more_than_a_batch_of_scores_is_in_memory(many: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "MEMORY", 4 * 25 * 16)
    model = Fixed(np.arange(25))
    questions = ask(*many, targets="successive")
    small = evaluate(model, Vocabulary(many[0]["item_id"]), questions, settings("ndcg@10", "auc"))
    assert model.largest == 16
    monkeypatch.undo()
    whole = evaluate(model, Vocabulary(many[0]["item_id"]), questions, settings("ndcg@10", "auc"))
    assert model.largest > 16
    assert small.record() == whole.record()


def test_the_record_is_json_and_says_what_was_asked(many: Parts) -> None:
    questions = ask(*many, targets="successive", max_examples=30)
    result = evaluate(Fixed(np.arange(25)), Vocabulary(many[0]["item_id"]), questions, EvaluateConfig())
    record = json.loads(json.dumps(result.record(), allow_nan=False))
    assert record["sampled"] is True
    assert record["users"] == result.users.height
    assert record["examples_available"] == questions.available
    assert record["ci95"]["ndcg@10"][0] <= record["metrics"]["ndcg@10"] <= record["ci95"]["ndcg@10"][1]
    assert set(METRICS) - set(record["metrics"]) == {"diversity@10", "rmse", "mae"}


def test_a_metric_named_twice_is_computed_once(questions: Questions) -> None:
    assert evaluate(Fixed(SCORES), CATALOGUE, questions, settings("mrr", "mrr")).users.columns == [
        "user_id",
        "mrr",
        "examples",
    ]


def test_default_metrics_exist() -> None:
    assert [parse_metric(name).name for name in METRICS] == list(METRICS)


def test_an_unknown_metric_is_named(questions: Questions) -> None:
    with pytest.raises(ConfigError, match=r"There is no metric 'ndgc'; choose from: .*ndcg"):
        evaluate(Fixed(SCORES), CATALOGUE, questions, settings("ndgc@10"))


def test_no_metric_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"params.yaml: evaluate.metrics is .*, but .*at least 1 item.*; correct"):
        settings()


def test_exposure_of_providers_needs_a_column(questions: Questions) -> None:
    names = ("provider_share@1", "provider_parity@1")
    items = pl.DataFrame({"item_id": CATALOGUE.ids, "brand": ["x"] * len(CATALOGUE)})
    plain = EvaluateConfig(metrics=("ndcg@2", *names))
    assert list(evaluate(Fixed(SCORES), CATALOGUE, questions, plain, items=items).metrics) == ["ndcg@2"]
    asked = plain.model_copy(update={"provider": "brand"})
    assert list(evaluate(Fixed(SCORES), CATALOGUE, questions, asked).metrics) == ["ndcg@2"]
    metrics = evaluate(Fixed(SCORES), CATALOGUE, questions, asked, items=items).metrics
    assert [metrics[name] for name in names] == [1.0, 1.0]


def test_providers_of_the_catalogue() -> None:
    items = pl.DataFrame({"item_id": ["i9", "i3", "i1", "i2"], "brand": ["a", "c", "b", None], "tags": [["t"]] * 4})
    assert providers(items, Vocabulary(["i1", "i2", "i3", "i4"]), "brand").tolist() == [0, -1, 1, -1]
    for column in ("seller", "tags"):
        with pytest.raises(ConfigError) as caught:
            providers(items, CATALOGUE, column)
        assert str(caught.value) == (
            f"params.yaml: evaluate.provider is '{column}', which is no column of the items with one value a cell; "
            "choose from: brand."
        )
