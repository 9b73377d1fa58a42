from recloop.metrics.base import Ranking
from recloop.metrics.precision import precision


def test_found_answers_over_places(ranking: Ranking, nobody: Ranking) -> None:
    assert precision(ranking, 1).tolist() == [1, 0, 0, 1]
    assert precision(ranking, 3).tolist() == [2 / 3, 0, 0, 1]
    assert precision(nobody, 3).tolist() == []


def test_places_beyond_the_candidates_count(ranking: Ranking) -> None:
    assert precision(ranking, 10).tolist() == [0.2, 0.1, 0, 0.5]
