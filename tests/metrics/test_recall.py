from recloop.metrics.base import Ranking
from recloop.metrics.recall import recall


def test_found_answers_over_all_answers(ranking: Ranking, nobody: Ranking) -> None:
    assert recall(ranking, 1).tolist() == [1 / 3, 0, 0, 1 / 5]
    assert recall(ranking, 5).tolist() == [2 / 3, 1, 0, 1]
    assert recall(nobody, 5).tolist() == []
