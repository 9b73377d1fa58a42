"""A whole simulation: real service, real flows, a small world."""

from pathlib import Path

import pytest

from recloop.data.tables import read_json, read_parquet
from recloop.errors import ConfigError
from recloop.simulation.days import NIGHTS, VISITS
from recloop.simulation.run import ReplayConfig, TasteConfig, simulate
from recloop.store import Store
from tests.support.project import ROOT

SMALL = TasteConfig(users=80, items=120, history_days=6, days=2, shift=1, sessions=30, visits=1.0)


def test_an_unknown_regime_is_one_sentence(tmp_path: Path):
    with pytest.raises(ConfigError) as error:
        simulate(ROOT, tmp_path / "out", SMALL, regimes=["sometimes"])
    assert str(error.value) == "sometimes is no regime; choose among closed, daily, never."
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match="holds something else than this simulation; remove it or name another with"):
        simulate(ROOT, tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_replay_needs_data(tmp_path: Path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/params.yaml").write_text("{}")
    with pytest.raises(ConfigError, match="holds no events to replay; run 'recloop ingest' first"):
        simulate(tmp_path / "root", tmp_path / "out", ReplayConfig())


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_people_use_the_service_while_the_flows_decide(tmp_path: Path):
    out = tmp_path / "out"
    told: list[str] = []
    found = simulate(ROOT, out, SMALL, regimes=["closed"], tell=told.append)
    visits = read_parquet(out / "closed" / VISITS)
    assert visits["day"].unique().sort().to_list() == [0, 1]
    assert (visits["reward"] <= visits["best"] + 1e-9).all()
    assert visits["fallback"].null_count() > 0.9 * visits.height
    nights = read_json(out / "closed" / NIGHTS)["nights"]
    assert [night["verdict"] in {"wait", "retrain", "alert"} for night in nights[1:]] == [True, True]
    with Store.open(root=out / "closed") as store:
        assert store.last_slate_seq() == visits.height
        looks = store.decisions(kind="monitor")
        assert [look.timestamp for look in looks][::-1] == [
            SMALL.world().start + (6 + day) * 86_400_000_000 - 1 for day in (1, 2)
        ]
    assert found["days"]["closed"][1]["visits"] > 40
    assert (out / "report.html").is_file()
    again: list[str] = []
    assert simulate(ROOT, out, SMALL, regimes=["closed"], tell=again.append)["days"] == found["days"]
    assert again == [f"closed: lived already, in {out / 'closed'}"]
