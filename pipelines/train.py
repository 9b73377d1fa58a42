"""Stage `train`: the split and one model's parameters in; the trained model and its curves out."""

from pathlib import Path

from pipelines import run
from recloop import models
from recloop.config import load_params
from recloop.data.tables import read_json
from recloop.devices import choose
from recloop.models import storage
from recloop.models.base import FitContext
from recloop.progress import track
from recloop.training import checkpoint
from recloop.training.config import model_config, train_config
from recloop.training.inputs import read
from recloop.training.loop import train

ARTIFACTS = Path("artifacts")
PRETRAINED = ARTIFACTS / "pretrained.json"


def main(name: str) -> None:
    """Train the model `name`; killed on the way, it goes on where it was when called again."""
    params = load_params()
    config, own = train_config(params), model_config(params, name)
    kind = models.find(name)
    items, data = read(ARTIFACTS, kind, config.early_stopping)

    device, scratch = choose(config.device), ARTIFACTS / "checkpoints" / _checkpoint(name)
    model = kind(own, len(items), device)
    curves = train(model, data, config, FitContext(device=device, seed=config.seed, progress=track), scratch)
    storage.save(model, items, ARTIFACTS / "models" / name, seed=config.seed)
    curves.write_csv(ARTIFACTS / "curves", name)
    checkpoint.remove(scratch)

    best = next(point for point in curves.points if point.epoch == curves.best_epoch)
    shown = "" if best.value is None else f", {curves.metric} {best.value:.4f} on validation"
    passes = f" in {len(curves.points)} passes, of which the best is {best.epoch}" if best.epoch else ""
    print(f"{name}: trained on {len(data.histories.items)} events and {len(items)} items{passes}{shown}")


def _checkpoint(name: str) -> str:
    """Where a killed training goes on; what began with another model is nothing to go on from."""
    begun = read_json(PRETRAINED).get(name) if PRETRAINED.is_file() else None
    return f"{name}-{begun}" if begun else name


if __name__ == "__main__":
    run(main)
