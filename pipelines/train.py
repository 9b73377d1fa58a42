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
from recloop.training.warm_start import Start

ARTIFACTS = Path("artifacts")
BUNDLES = ARTIFACTS / "bundles"
PRETRAINED = ARTIFACTS / "pretrained.json"


def main(name: str) -> None:
    """Train the model `name`; killed on the way, it goes on where it was when called again."""
    params = load_params()
    config, own = train_config(params), model_config(params, name)
    kind = models.find(name)
    items, data = read(ARTIFACTS, kind, config.early_stopping)

    begun = read_json(PRETRAINED).get(name) if PRETRAINED.is_file() else None
    # what began with another model is nothing to go on from
    scratch = ARTIFACTS / "checkpoints" / (f"{name}-{begun}" if begun else name)
    device = choose(config.device)
    model = kind(own, len(items), device)
    # a model that names what it begins with reads that by itself
    champion = begun is not None and getattr(own, "pretrained", None) is None
    start = Start.read(BUNDLES / begun, model, items) if champion else None
    context = FitContext(device=device, seed=config.seed, progress=track)
    curves = train(model, data, config, context, scratch, start=start)
    passes = curves.best_epoch or None
    trained = storage.Trained(
        model=model,
        vocabulary=items,
        seed=config.seed,
        began_with=begun,
        passes=passes,
        privacy=curves.privacy,
    )
    storage.save(trained, ARTIFACTS / "models" / name)
    curves.write_csv(ARTIFACTS / "curves", name)
    checkpoint.remove(scratch)

    best = next(point for point in curves.points if point.epoch == curves.best_epoch)
    shown = "" if best.value is None else f", {curves.metric} {best.value:.4f} on validation"
    passes = f" in {len(curves.points)} passes, of which the best is {best.epoch}" if best.epoch else ""
    before = f", begun with {begun}" if begun else ""
    cost = curves.privacy
    spent = "" if cost is None else f", epsilon {cost['epsilon']:.3g} at delta {cost['delta']:.2g} for each person"
    print(f"{name}: trained on {len(data.histories.items)} events and {len(items)} items{before}{passes}{shown}{spent}")


if __name__ == "__main__":
    run(main)
