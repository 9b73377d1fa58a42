"""A tiny DVC project with stages of the real names, which write files of the real forms within milliseconds."""

import subprocess
import sys
from pathlib import Path

STAGE = """
import csv, hashlib, json, os, sys, time
from pathlib import Path

import yaml

name, model = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
params = yaml.safe_load(Path("params.yaml").read_text())
out = Path("artifacts")


def write(path, value):
    path = out / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, sort_keys=True, indent=2) + "\\n")


print(f"stage {name} {model} in {os.getcwd()}", flush=True)
print("a word on standard error", file=sys.stderr, flush=True)
with Path("runs.log").open("a") as runs:
    runs.write(f"{name}@{model}\\n" if model else f"{name}\\n")

if name == "validate":
    rows, events = sum(file.stat().st_size for file in Path("data").glob("*") if file.is_file()), 0
    batches = sorted(Path("data").rglob("feedback-*.parquet"))
    if batches:
        import polars

        feedback = polars.concat([polars.read_parquet(file) for file in batches], how="diagonal")
        events = feedback.height
    refuse = bool(params["validate"].get("refuse"))
    write("validation/validation.json", {
        "success": not refuse, "rows": {"interactions": rows}, "quarantined": 2,
        "quarantined_by_reason": {"duplicate": 2},
        "checks": [{"table": "interactions", "rule": "values_between", "column": "value", "severity": "critical",
                    "success": not refuse, "observed": 4.5, "failing": 2 * refuse,
                    "examples": [{"user_id": "u7", "value": 9.5}] * refuse}]})
    if refuse:
        sentence = "interactions: 'value' must lie between 1 and 5, 2 rows do not; correct them."
        Path(os.environ["RECLOOP_ERROR_FILE"]).write_text(sentence)
        sys.exit(2)
    if params["validate"].get("crash"):
        raise RuntimeError("disk on fire")
    if params["validate"].get("crash_once") and Path("runs.log").read_text().count("validate") == 1:
        os.kill(os.getpid(), 9)
    write("clean/rows.json", {"rows": rows, "events": events})
    if batches:
        feedback.write_parquet(out / "clean/interactions.parquet")
elif name == "split":
    events = json.loads((out / "clean/rows.json").read_text())["events"]
    write("split/split.json", {"train_rows": events, "valid_rows": 0, "test_rows": 0})
elif name == "train":
    time.sleep(params["train"].get("seconds", 0))
    write(f"models/{model}/model.json", {"model": model, "seed": params["train"]["seed"]})
elif name == "evaluate":
    seed = json.loads((out / "models" / model / "model.json").read_text())["seed"]
    write(f"evaluation/{model}.json", {"model": model, "ndcg@10": round(len(model) / 100 + seed / 1e6, 6)})
elif name == "gate":
    board = [json.loads((out / "evaluation" / f"{m}.json").read_text()) for m in params["train"]["models"]]
    board.sort(key=lambda row: -row["ndcg@10"])
    best = board[0]
    write("gate/decision.json", {
        "verdict": "promote", "winner": best["model"], "champion": None, "metric": "ndcg@10",
        "reasons": [f"{best['model']} beats popularity on the same users."],
        "candidates": [{"model": row["model"], "value": row["ndcg@10"], "passed": row is best, "reasons": [],
                        "against": {"popularity": {"difference": 0.01, "ci95": [0.005, 0.015]}, "champion": None},
                        "floors": [{"name": "coverage", "value": 0.4, "bound": 0.1, "passed": True}]}
                       for row in board]})
    with (out / "gate/leaderboard.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["model", "ndcg@10"])
        writer.writeheader()
        writer.writerows(board)
elif name == "package":
    winner = json.loads((out / "gate/decision.json").read_text())["winner"]
    write("bundle/model.json", {"model": winner, "rows": json.loads((out / "clean/rows.json").read_text())["rows"]})
    content = (out / "bundle/model.json").read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    write("bundle/manifest.json", {
        "format": 1, "id": hashlib.sha256(f"model.json {checksum}\\n".encode()).hexdigest()[:16],
        "files": {"model.json": {"bytes": len(content), "sha256": checksum}},
        "model": winner, "n_items": 1682, "n_users": 943, "seed": 0,
        "git_revision": None, "data": {"hash": "cafe", "train_window": ["1997-09-20", "1998-03-20"]}})
elif name == "drift":
    verdict = params["drift"]["verdict"]
    window = {"from": "1998-01-01", "to": "1998-02-01", "rows": 1000}
    pointer = out / "champion/champion.json"
    if pointer.exists():
        bundle = json.loads(pointer.read_text())["bundle"]
    else:
        bundle = json.loads((out / "bundle/manifest.json").read_text())["id"]
    write("drift/drift.json", {
        "bundle": bundle, "verdict": verdict, "reference": window, "current": window,
        "checks": [{"name": "popularity", "column": "item_id", "statistic": "psi", "value": 0.31, "threshold": 0.2,
                    "n_reference": 1000, "n_current": 1000, "drifted": verdict == "drift"}]})
else:
    write(f"{name}/{name}.json", {})
"""

DVC = """
stages:
  drift:
    cmd: python stage.py drift
    deps: [artifacts/bundle, artifacts/clean]
    params: [drift]
    outs: [artifacts/drift]
  package:
    cmd: python stage.py package
    deps: [artifacts/clean, artifacts/gate/decision.json]
    outs: [artifacts/bundle]
  gate:
    cmd: python stage.py gate
    deps: [artifacts/evaluation]
    params: [train.models]
    outs: [artifacts/gate/decision.json, artifacts/gate/leaderboard.csv]
  evaluate:
    matrix: {model: "${train.models}"}
    cmd: python stage.py evaluate ${item.model}
    deps: ["artifacts/models/${item.model}"]
    outs: ["artifacts/evaluation/${item.model}.json"]
  train:
    desc: One model
    matrix: {model: "${train.models}"}
    cmd: python stage.py train ${item.model}
    deps: [artifacts/split]
    params: [train.seed, train.seconds]
    outs: ["artifacts/models/${item.model}"]
  split:
    cmd: python stage.py split
    deps: [artifacts/clean]
    params: [split]
    outs: [artifacts/split]
  validate:
    desc: Are the data what they must be?
    cmd: python stage.py validate
    deps: [data]
    params: [validate]
    outs: [artifacts/clean, artifacts/validation]
"""

PARAMS = """\
# Every choice of a run.
ingest:
  source: files
  files: {interactions: incoming/*.csv}

validate: {}

split:
  strategy: temporal # or leave_last_out

train:
  models: [popularity, ease] # the field
  seed: 0
  device: auto
  seconds: 0

drift: {verdict: stable}
monitor: {min_new_events: 3}
"""


EVENTS = """\
user_id,item_id,timestamp,event,value
u1,i1,1000000000,rating,4
u1,i2,1000000100,rating,3
u2,i2,1000000200,rating,5
"""


def make(folder: Path) -> Path:
    """Make the project; returns its folder."""
    folder.mkdir(parents=True)
    (folder / "stage.py").write_text(STAGE)
    (folder / "dvc.yaml").write_text(DVC)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "data").mkdir()
    (folder / "data/rows.txt").write_text("100 rows")
    (folder / "incoming").mkdir()
    (folder / "incoming/one.csv").write_text(EVENTS)
    (folder / ".gitignore").write_text("/artifacts\n/data\n*.log\n*.sqlite*\n/.prefect\n/.recloop\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    dvc(folder, "init", "-q")
    dvc(folder, "config", "core.analytics", "false")
    dvc(folder, "add", "-q", "data")
    return folder


def dvc(folder: Path, *words: str) -> str:
    """Run the `dvc` command; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment() -> dict[str, str]:
    import os

    programs = str(Path(sys.executable).parent)
    return os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}


def runs(folder: Path) -> list[str]:
    """The stages whose commands were run, in order."""
    log = folder / "runs.log"
    return log.read_text().split() if log.is_file() else []
