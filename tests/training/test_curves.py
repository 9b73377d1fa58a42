from pathlib import Path

from recloop.training.curves import Curves, Point


def test_a_file_for_each_plot_with_a_row_for_each_pass(tmp_path: Path) -> None:
    points = (Point(epoch=1, loss=2.5, value=None), Point(epoch=2, loss=1.25, value=0.5))
    Curves(metric="ndcg@10", points=points, best_epoch=2).write_csv(tmp_path, "als")
    assert (tmp_path / "loss/als.csv").read_text(encoding="utf-8") == "epoch,loss\n1,2.5\n2,1.25\n"
    assert (tmp_path / "validation/als.csv").read_text(encoding="utf-8") == "epoch,ndcg@10\n1,\n2,0.5\n"
    assert [path.name for path in (tmp_path / "loss").iterdir()] == ["als.csv"]


def test_what_is_not_known_is_empty(tmp_path: Path) -> None:
    Curves(metric="mrr", points=(Point(epoch=0, loss=None, value=None),), best_epoch=0).write_csv(tmp_path, "x")
    assert (tmp_path / "loss/x.csv").read_text(encoding="utf-8") == "epoch,loss\n0,\n"
    assert (tmp_path / "validation/x.csv").read_text(encoding="utf-8") == "epoch,mrr\n0,\n"
