"""Stage `refit`: with `train.refit`, the gate's winner is trained once more, on all events, as it is to serve."""

from pathlib import Path
from typing import Any

from pipelines import run
from recloop import models
from recloop.config import load_params
from recloop.data.bundles import replacing
from recloop.data.tables import read_attributes, read_json, read_parquet, write_json
from recloop.devices import choose
from recloop.models import storage
from recloop.models.base import FitContext, TrainingData
from recloop.progress import track
from recloop.training import checkpoint
from recloop.training.config import TrainConfig, model_config, train_config
from recloop.training.loop import train
from recloop.training.warm_start import Start

ARTIFACTS = Path("artifacts")
BUNDLES = ARTIFACTS / "bundles"
CLEAN = ARTIFACTS / "clean"
DECISION = ARTIFACTS / "gate/decision.json"
REFIT = ARTIFACTS / "refit"
NOTE = "refit.json"


def main() -> None:
    """Write the model to `REFIT`; else there is nothing but a note of why not."""
    params = load_params()
    config = train_config(params)
    winner = read_json(DECISION)["winner"]
    if not config.refit or winner is None:
        why = "the champion stays" if winner is None else "the weights that were evaluated are to serve"
        with replacing(REFIT) as scratch:
            write_json({"model": None, "why": why}, scratch / NOTE)
        print(f"refit: none, {why}")
        return
    trained, rows = _refit(winner, params, config)
    with replacing(REFIT) as scratch:
        storage.write(trained, scratch)
        write_json({"model": winner, "rows": rows, "passes": trained.passes}, scratch / NOTE)
    passes = f" in {trained.passes} passes" if trained.passes else ""
    print(f"refit: {winner} trained on all {rows} events{passes}")


def _refit(name: str, params: dict[str, Any], config: TrainConfig) -> tuple[storage.Trained, int]:
    kind, own = models.find(name), model_config(params, name)
    interactions, attributes = read_parquet(CLEAN / "interactions.parquet"), read_attributes(CLEAN)
    items = models.catalogue(kind, interactions, attributes.items)
    data = TrainingData.from_tables(interactions, items, attributes)
    device = choose(config.device)
    model = kind(own, len(items), device)

    # the baseline need not be of the field, and what an earlier run left in its folder says nothing of this one
    before = storage.read(ARTIFACTS / "models" / name) if name in config.models else None
    began_with = before and before.began_with
    champion = began_with is not None and getattr(own, "pretrained", None) is None
    start = Start.read(BUNDLES / began_with, model, items) if began_with and champion else None
    passes = before and before.passes
    scratch = ARTIFACTS / "checkpoints" / f"{name}-refit"
    context = FitContext(device=device, seed=config.seed, progress=track)
    train(model, data, config, context, scratch, start=start, passes=passes)
    checkpoint.remove(scratch)
    return (
        storage.Trained(model=model, vocabulary=items, seed=config.seed, began_with=began_with, passes=passes),
        interactions.height,
    )


if __name__ == "__main__":
    run(main)
