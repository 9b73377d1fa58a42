"""Stage `package`: the gate's winner, or the champion that it kept, as a bundle in `artifacts/bundle`."""

import shutil
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import polars as pl
import torch
import yaml

from pipelines import run
from recloop.columns import TIME
from recloop.config import load_params, parse, section
from recloop.data.bundles import copy
from recloop.data.pseudonyms import recorded
from recloop.data.tables import read_attributes, read_json, read_parquet
from recloop.errors import ConfigError
from recloop.evaluation.contenders import fit
from recloop.models import storage
from recloop.models.storage import Trained
from recloop.serving.bundle import write_bundle
from recloop.serving.recommender import ServeConfig
from recloop.sources import watermark

BUNDLE = Path("artifacts/bundle")
BUNDLES = Path("artifacts/bundles")
CLEAN = Path("artifacts/clean")
DATA = Path("data.dvc")
TABLES = Path("data")
DECISION = Path("artifacts/gate/decision.json")
EVALUATION = Path("artifacts/evaluation")
MODELS = Path("artifacts/models")
SPLIT = Path("artifacts/split/split.json")
TRAIN = Path("artifacts/split/train.parquet")
REFIT = Path("artifacts/refit")
VALIDATION = Path("artifacts/validation/validation.json")

RECORDED = ("validate", "split", "evaluate", "gate", "serve")


def main() -> None:
    """Package the winner, which the baseline is where nothing passed; the champion's own bundle if it stays."""
    decision = read_json(DECISION)
    if decision["winner"] is None:
        manifest = copy(BUNDLES / decision["champion"]["bundle"], BUNDLE)
    else:
        manifest = _package(decision["winner"], decision)
    print(f"bundle {manifest['id']} with {manifest['model']}: {manifest['n_items']} items, {manifest['n_users']} users")


def _package(name: str, decision: Mapping[str, Any]) -> dict[str, Any]:
    params = load_params()
    parse(ServeConfig, section(params, "serve"), "params.yaml: serve")
    training = section(params, "train")
    trained = name in training["models"]
    evaluated = storage.read(MODELS / name) if trained else _fitted(name, training)
    refitted = storage.read(REFIT) if (REFIT / storage.DESCRIPTION).is_file() else None
    if training.get("privacy") and evaluated.privacy is None:
        raise ConfigError(
            f"{name}, which the gate chose, was not trained privately, as params.yaml: train.privacy asks; name one of "
            "train.models as gate.baseline, or set train.privacy to null."
        )
    interactions = read_parquet(CLEAN / "interactions.parquet")
    attributes = read_attributes(CLEAN)
    return write_bundle(
        BUNDLE,
        trained=refitted or evaluated,
        evaluated=evaluated if refitted else None,
        interactions=interactions,
        items=attributes.items,
        people=attributes.users,
        record=_record(name, decision, params, interactions, trained=trained, refitted=refitted is not None),
    )


def _fitted(name: str, training: Mapping[str, Any]) -> Trained:
    """The baseline, fitted as the gate did, for a run that did not train it."""
    seed = training.get("seed", 0)
    own, known = training.get(name), read_attributes(CLEAN)
    model, items = fit(name, own, read_parquet(TRAIN), known, device=torch.device("cpu"), seed=seed)
    return Trained(model=model, vocabulary=items, seed=seed)


def _record(
    name: str,
    decision: Mapping[str, Any],
    params: Mapping[str, Any],
    interactions: pl.DataFrame,
    *,
    trained: bool,
    refitted: bool,
) -> dict[str, Any]:
    """Where the bundle comes from; of the parameters, only those that shaped it, and none that say where data lie."""
    evaluation = EVALUATION / name / "metrics.json"
    measured = read_json(evaluation) if trained else {"metrics": {}, "ci95": {}}
    validation = read_json(VALIDATION)
    train = section(params, "train")
    everything = [_iso(interactions[TIME].min()), _iso(interactions[TIME].max())]
    evaluated = read_json(SPLIT)["train_window"]
    return {
        "git_revision": _git_revision(),
        "data": {
            "hash": _data_hash(),
            "rows": interactions.height,
            "window": everything,
            "train_window": everything if refitted else evaluated,
            "evaluated_window": evaluated,
            "feedback": watermark(TABLES, "feedback"),
        },
        "params": {key: params[key] for key in RECORDED if params.get(key)} | {"train": {name: train.get(name) or {}}},
        "pseudonyms": recorded(TABLES),
        "metrics": measured["metrics"],
        "ci95": measured["ci95"],
        "validation": {"success": validation["success"], "quarantined": validation["quarantined"]},
        "decision": {"verdict": decision["verdict"], "reasons": decision["reasons"]},
    }


def _iso(moment: Any) -> str:
    return cast("datetime", moment).isoformat(timespec="microseconds")


def _data_hash() -> str:
    """The version of the data as DVC names it, or ``unknown`` for data that DVC does not track."""
    if not DATA.is_file():
        return "unknown"
    return yaml.safe_load(DATA.read_text(encoding="utf-8"))["outs"][0]["md5"]


def _git_revision() -> str:
    """The checked-out commit, or ``unknown`` outside of git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    done = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    return done.stdout.strip() if done.returncode == 0 else "unknown"


if __name__ == "__main__":
    run(main)
