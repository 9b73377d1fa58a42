"""Metrics by name."""

import numpy as np
import pytest

from recloop import metrics
from recloop.errors import ConfigError
from recloop.metrics import Predictions, Ranking, Slates


def test_every_metric_of_the_folder_is_found() -> None:
    assert metrics.names() == (
        "auc", "coverage", "diversity", "f1", "gini", "hit", "mae", "map", "mrr", "ndcg", "novelty", "popularity_bias",
        "precision", "provider_parity", "provider_share", "recall", "rmse",
    )  # fmt: skip
    for name in metrics.names():
        assert metrics.find(name).__doc__


def test_a_name_has_its_cutoff_behind_it() -> None:
    ndcg = metrics.parse(" ndcg@010")
    assert (ndcg.name, ndcg.k, ndcg.takes, ndcg.per_example) == ("ndcg@10", 10, Ranking, True)
    coverage = metrics.parse("coverage@5")
    assert (coverage.name, coverage.k, coverage.takes, coverage.per_example) == ("coverage@5", 5, Slates, False)
    rmse = metrics.parse("rmse")
    assert (rmse.name, rmse.k, rmse.takes, rmse.per_example) == ("rmse", None, Predictions, True)
    assert (metrics.parse("mrr").k, metrics.parse("mrr@3").k) == (None, 3)


def test_calling_a_metric_passes_its_cutoff() -> None:
    ranking = Ranking(
        ranks=np.array([1, 4, 0]), offsets=np.array([0, 2, 3]), n_candidates=np.array([6, 6], dtype=np.int64)
    )
    assert metrics.parse("recall@3")(ranking).tolist() == [0.5, 1.0]
    assert metrics.parse("mrr")(ranking).tolist() == [0.5, 1.0]
    with pytest.raises(AssertionError, match="coverage@2 takes Slates, not Ranking"):
        metrics.parse("coverage@2")(ranking)


def test_the_depth_is_that_of_the_longest_slate_looked_at() -> None:
    assert metrics.depth([metrics.parse(name) for name in ("ndcg@50", "gini@7", "coverage@5", "auc")]) == 7
    assert metrics.depth([metrics.parse("ndcg@50")]) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "accuracy@10",
            (
                "There is no metric 'accuracy'; choose from: auc, coverage, diversity, f1, gini, hit, mae, map, mrr, "
                "ndcg, novelty, popularity_bias, precision, provider_parity, provider_share, recall, rmse."
            ),
        ),
        ("ndcg", "Metric 'ndcg' lacks the cut-off that ndcg needs; write ndcg@10."),
        ("ndcg@", "Metric 'ndcg@' has a cut-off that is no whole number above 0; write ndcg@10."),
        ("ndcg@0", "Metric 'ndcg@0' has a cut-off that is no whole number above 0; write ndcg@10."),
        ("ndcg@²", "Metric 'ndcg@²' has a cut-off that is no whole number above 0; write ndcg@10."),
        ("mrr@-1", "Metric 'mrr@-1' has a cut-off that is no whole number above 0; write mrr@10."),
        ("auc@5", "Metric 'auc@5' has a cut-off, but auc is taken over the whole ranking; write auc."),
    ],
)
def test_a_wrong_name_gets_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        metrics.parse(text)
    assert str(caught.value) == sentence


def test_the_contract_is_no_metric() -> None:
    with pytest.raises(ConfigError, match="There is no metric 'base'"):
        metrics.find("base")
