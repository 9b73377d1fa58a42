from recloop.metrics.base import Ranking
from recloop.metrics.mrr import mrr


def test_one_over_the_first_place(ranking: Ranking, nobody: Ranking) -> None:
    assert mrr(ranking).tolist() == [1, 1 / 5, 0, 1]
    assert mrr(nobody).tolist() == []


def test_nothing_counts_beyond_the_cutoff(ranking: Ranking) -> None:
    assert mrr(ranking, 4).tolist() == [1, 0, 0, 1]
    assert mrr(ranking, 5).tolist() == [1, 1 / 5, 0, 1]
