from pathlib import Path

from recloop.training.curves import Curves, Point


def test_unknown_numbers_are_empty(tmp_path: Path) -> None:
    points = (Point(epoch=1, loss=2.5, value=None), Point(epoch=2, loss=1.25, value=0.5))
    Curves(metric="ndcg@10", points=points, best_epoch=2).write_csv(tmp_path / "curves" / "als.csv")
    assert (tmp_path / "curves" / "als.csv").read_text(encoding="utf-8") == "epoch,loss,ndcg@10\n1,2.5,\n2,1.25,0.5\n"
    assert [path.name for path in (tmp_path / "curves").iterdir()] == ["als.csv"]


def test_a_model_without_passes_has_one_row(tmp_path: Path) -> None:
    Curves(metric="mrr", points=(Point(epoch=0, loss=None, value=None),), best_epoch=0).write_csv(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text(encoding="utf-8") == "epoch,loss,mrr\n0,,\n"
