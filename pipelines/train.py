"""Stage `train`: the split and one model's parameters in; the trained model and its curves out."""

from dataclasses import replace
from pathlib import Path

from pipelines import run
from recloop import models
from recloop.config import load_params
from recloop.data.splits import examples
from recloop.data.tables import read_attributes, read_json, read_parquet
from recloop.devices import choose
from recloop.models import storage
from recloop.models.base import FitContext, TrainingData, catalogue
from recloop.progress import track
from recloop.training import checkpoint
from recloop.training.config import model_config, train_config
from recloop.training.loop import train

ARTIFACTS = Path("artifacts")


def main(name: str) -> None:
    """Train the model `name`; killed on the way, it goes on where it was when called again.

    Passes are compared by what the test will ask: validation has questions of the kind that `split.targets` says.
    """
    params = load_params()
    config, own = train_config(params), model_config(params, name)
    learnt, asked = (read_parquet(ARTIFACTS / "split" / f"{part}.parquet") for part in ("train", "valid"))
    kind, attributes = models.find(name), read_attributes(ARTIFACTS / "clean")
    items = catalogue(kind, learnt, attributes.items)
    valid = None
    if asked.height:
        made, masked = read_json(ARTIFACTS / "split" / "split.json"), config.early_stopping.mask_seen
        valid, _, _ = examples(
            learnt,
            asked,
            items,
            mode=made["targets"],
            mask_seen=masked,
            strategy=made["strategy"],
            people=attributes.users,
        )
    data = replace(TrainingData.from_tables(learnt, items, attributes), valid=valid)

    device, scratch = choose(config.device), ARTIFACTS / "checkpoints" / name
    model = kind(own, len(items), device)
    curves = train(model, data, config, FitContext(device=device, seed=config.seed, progress=track), scratch)
    storage.save(model, items, ARTIFACTS / "models" / name, seed=config.seed)
    curves.write_csv(ARTIFACTS / "curves", name)
    checkpoint.remove(scratch)

    best = next(point for point in curves.points if point.epoch == curves.best_epoch)
    shown = "" if best.value is None else f", {curves.metric} {best.value:.4f} on validation"
    passes = f" in {len(curves.points)} passes, of which the best is {best.epoch}" if best.epoch else ""
    print(f"{name}: trained on {learnt.height} events and {len(items)} items{passes}{shown}")


if __name__ == "__main__":
    run(main)
