"""Stage `gate`: the evaluations of this run and the champion in; a decision and the leaderboard out."""

import hashlib
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from pipelines import run
from pipelines.evaluate import ARTIFACTS, CLEAN, SPLIT, read_questions
from recloop.config import load_params, parse, section
from recloop.data.bundles import verify
from recloop.data.tables import read_attributes, read_json, read_parquet, write_json
from recloop.devices import choose
from recloop.errors import ConfigError, DataError
from recloop.evaluation.contenders import fit, rival
from recloop.evaluation.gate import Contender, Decision, GateConfig, SlateValues, decide, leaderboard
from recloop.evaluation.questions import Questions
from recloop.evaluation.ranking import EvaluateConfig
from recloop.models import storage
from recloop.progress import track
from recloop.serving.recommender import ServeConfig
from recloop.slate_values import slate_values

DATA = Path("data")
POINTER = ARTIFACTS / "champion" / "champion.json"
DECISION = ARTIFACTS / "gate" / "decision.json"
LEADERBOARD = ARTIFACTS / "gate" / "leaderboard.csv"


def main() -> None:
    """Compare the models of `train.models` with the baseline and the champion, and decide."""
    params = load_params()
    config = parse(GateConfig, section(params, "gate"), "params.yaml: gate")
    evaluating = parse(EvaluateConfig, section(params, "evaluate"), "params.yaml: evaluate")
    training, device, questions = section(params, "train"), choose(evaluating.device), read_questions(evaluating)

    champion, manifest = None, None
    if POINTER.is_file():
        bundle = ARTIFACTS / "bundles" / read_json(POINTER)["bundle"]
        manifest = verify(bundle)
        judged = storage.evaluated(bundle, device)
        champion = rival(judged.model, judged.vocabulary, questions, config, bundle=bundle.name, progress=track)
    candidates = [_candidate(name, questions, manifest) for name in _models(training)]
    baseline = next((one for one in candidates if one.model == config.baseline), None)
    if baseline is None:
        train, seed = read_parquet(SPLIT / "train.parquet"), training.get("seed", 0)
        fitted = fit(
            config.baseline,
            training.get(config.baseline),
            train,
            read_attributes(CLEAN),
            device=device,
            seed=seed,
            progress=track,
        )
        baseline = rival(*fitted, questions, config, progress=track)
    values = _values(
        candidates, champion, config, parse(ServeConfig, section(params, "serve"), "params.yaml: serve"), device
    )
    decision = decide(candidates, baseline=baseline, champion=champion, config=config, values=values)

    write_json(decision.record(), DECISION)
    leaderboard(candidates, config.metric, values).write_csv(LEADERBOARD)
    _show(decision)


def _models(training: dict[str, Any]) -> list[str]:
    models = training.get("models")
    if not isinstance(models, list) or not models:
        raise ConfigError(f"params.yaml: train.models is {models!r}, but must list at least one model; name some.")
    return models


def _candidate(name: str, questions: Questions, manifest: dict[str, Any] | None) -> Contender:
    folder = ARTIFACTS / "evaluation" / name
    record = read_json(folder / "metrics.json")
    if record["questions"] != questions.fingerprint():
        raise DataError(f"{folder} answers other questions than {SPLIT} asks now; run 'dvc repro' to evaluate again.")
    weights = (ARTIFACTS / "models" / name / storage.WEIGHTS).read_bytes()
    return Contender(
        model=name,
        users=read_parquet(folder / "users.parquet"),
        metrics=record["metrics"],
        slices=record["slices"],
        latency_ms=read_json(ARTIFACTS / "timings" / f"{name}.json")["latency_ms"],
        is_champion=manifest is not None
        and manifest["model"] == name
        and _digest_of_evaluated(manifest) == hashlib.sha256(weights).hexdigest(),
    )


def _digest_of_evaluated(manifest: dict[str, Any]) -> str:
    files = manifest["files"]
    return files.get(storage.EVALUATED + storage.WEIGHTS, files[storage.WEIGHTS])["sha256"]


def _values(
    candidates: Sequence[Contender],
    champion: Contender | None,
    config: GateConfig,
    serve: ServeConfig,
    device: torch.device,
) -> SlateValues:
    """What the champion's logged slates say of the challengers."""
    if champion is None or champion.bundle is None:
        return SlateValues()
    windows = read_json(SPLIT / "split.json")
    learnt_until = datetime.fromisoformat(windows["train_window"][1])
    begin = datetime.fromisoformat(windows["test_window"][0])
    return slate_values(
        data=DATA,
        champion=champion.bundle,
        since=round(max(learnt_until, begin).timestamp() * 1_000_000),
        challengers=[one.model for one in candidates if not one.is_champion],
        load=lambda name: storage.load(ARTIFACTS / "models" / name, device),
        train=read_parquet(SPLIT / "train.parquet"),
        interactions=read_parquet(CLEAN / "interactions.parquet"),
        attributes=read_attributes(CLEAN),
        serve=serve,
        config=config,
    )


def _show(decision: Decision) -> None:
    if sys.stdout.isatty():
        table = Table("model", decision.metric, "passed", title=f"Gate: {decision.verdict}")
        for one in sorted(decision.candidates, key=lambda one: -one.value):
            table.add_row(one.model, f"{one.value:.4f}", "yes" if one.passed else "no")
        Console().print(table)
    print(f"{decision.verdict}: {decision.reasons[0]} All reasons: {DECISION}")


if __name__ == "__main__":
    run(main)
