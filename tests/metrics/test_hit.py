from recloop.metrics.base import Ranking
from recloop.metrics.hit import hit


def test_one_found_answer_is_enough(ranking: Ranking, nobody: Ranking) -> None:
    assert hit(ranking, 4).tolist() == [1, 0, 0, 1]
    assert hit(ranking, 5).tolist() == [1, 1, 0, 1]
    assert hit(nobody, 4).tolist() == []
