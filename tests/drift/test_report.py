import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from recloop.drift.config import DriftConfig
from recloop.drift.detect import detect
from recloop.drift.held_out import HeldOut
from recloop.drift.report import _rows, write
from recloop.evaluation.contenders import fit
from tests.drift.conftest import events, people


@pytest.mark.slow
def test_evidently_says_what_the_checks_say(tmp_path: Path, world: Callable[..., pl.DataFrame]):
    frame = world(seed=3, drift_at=0.8)
    cut = frame["timestamp"].sort()[int(frame.height * 0.6)]
    reference, current = frame.filter(pl.col("timestamp") < cut), frame.filter(pl.col("timestamp") >= cut)
    held_out = HeldOut(interactions=frame, learned_until=reference["timestamp"].max())  # type: ignore[arg-type]
    drift = detect(reference, current, DriftConfig(), fit("als", None, reference, device=torch.device("cpu")), held_out)
    drifted = {check.name: check.drifted for check in drift.checks}
    assert drifted["ranking_quality"] != drifted["popularity_baseline"]
    page, results = tmp_path / "drift.html", tmp_path / "evidently.json"
    write(drift, page, results)

    metrics = {metric["config"]["column"]: metric for metric in json.loads(results.read_text())["metrics"]}
    assert set(metrics) == {check.name for check in drift.checks}
    tests = json.loads(results.read_text())["tests"]
    for check in drift.checks:
        statuses = {test["status"] for test in tests if check.name in test["name"]}
        assert statuses == (
            {"FAIL", "SUCCESS"}
            if check.drifted and check.name == "volume"
            else {"FAIL"}
            if check.drifted
            else {"SUCCESS"}
        ), check.name
        if check.comparison.statistic == "jensenshannon":
            assert metrics[check.name]["value"] == pytest.approx(check.comparison.value, abs=1e-3)
            assert metrics[check.name]["config"]["threshold"] == pytest.approx(check.threshold, abs=1e-6)

    text = page.read_text(encoding="utf-8")
    assert "Drift in column" in text
    assert "item_popularity" in text
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?:', text)


WRITE = """
import sys
from pathlib import Path
from recloop.drift.config import DriftConfig
from recloop.drift.detect import detect
from recloop.drift.report import write
from tests.drift.conftest import events, people
found = detect(events(people(100, (0, 10))), events(people(100, (11, 20), seed=1)), DriftConfig())
write(found, Path(sys.argv[1]) / "drift.html", Path(sys.argv[1]) / "evidently.json")
"""


@pytest.mark.slow
def test_the_results_are_the_same_in_every_process(tmp_path: Path):
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        command = [sys.executable, "-c", WRITE, str(tmp_path / seed)]
        root = Path(__file__).parents[2]
        subprocess.run(command, check=True, cwd=root, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)})
    assert (tmp_path / "1/evidently.json").read_bytes() == (tmp_path / "2/evidently.json").read_bytes()


def test_too_little_for_a_verdict_has_a_page_too(tmp_path: Path):
    reference = events(people(100, (0, 10)))
    write(detect(reference, reference.clear(), DriftConfig()), tmp_path / "a/drift.html", tmp_path / "a/evidently.json")
    assert "reference 400 events, current 0 events" in (tmp_path / "a/drift.html").read_text()
    assert json.loads((tmp_path / "a/evidently.json").read_text()) == {"metrics": [], "tests": []}


def test_rows_are_in_exact_proportion():
    rows = _rows(["a", "b", "c"], np.array([1 / 3, 1 / 3, 1 / 3]))
    assert rows.value_counts().to_dict() == {"a": 3334, "b": 3333, "c": 3333}
    assert _rows(["a", "b"], np.array([0.0, 1.0])).unique().tolist() == ["b"]
