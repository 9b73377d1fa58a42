"""Click-through prediction on Last.FM with a knowledge graph, by the protocol of KGCN (Wang et al., WWW 2019).

    python -m benchmarks.published.lastfm_kg --model kgat --set epochs=15                      one run
    python -m benchmarks.published.lastfm_kg --model kgat --set epochs=15 --validation-only    to choose parameters

Listened artists are positives; each user gets as many negatives, drawn from the artists never listened to (or all of
those, where they are fewer). All samples are split 60/20/20 at random by the seed. A model learns from the positives of
the first part; AUC and F1 are computed over all samples of a part together. What is compared is the logarithm of the
sample's share in the softmax over all artists, given the user's history in the first part: scores as such have a scale
of their own for each user. The pass with the best AUC on the second part, and the threshold with the best F1 there, are
reported on the third, which nothing else looks at.

The report has these keys of that of `recloop benchmark`: `model`, `config`, `device`, `seed`, `passes`, `fit_seconds`
(validation included), `rank_seconds`, `peak_rss_mb`, and `metrics`, `auc` and `f1` on the third part, unless that was
left alone; and `valid`: `auc` and `f1` on the second part, and `pass`, the one that was kept.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.published.protocols import source
from recloop import devices, models
from recloop.benchmark import peak_rss_mb, read_settings
from recloop.config import parse
from recloop.data.knowledge import Knowledge
from recloop.data.sequences import Contexts
from recloop.data.tables import write_json
from recloop.data.vocabulary import Vocabulary
from recloop.errors import RecloopError
from recloop.models.base import FitContext, IterativeModel, Model, TrainingData, check_needs
from recloop.training.config import TrainConfig

SHARES = (0.6, 0.8)
FILES = ("interactions", "item_entity", "kg")
BATCH = 256
"""Users that are scored together."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """N samples of one part: the indices of user and item, and whether it was listened to, each (N,)."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    liked: NDArray[np.bool_]


def main() -> None:
    """Train one model and report what it reaches."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published.lastfm_kg")
    parser.add_argument("--model", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="parameters of the model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="where to write the report, as JSON")
    parser.add_argument("--patience", type=int, default=5, help="passes without a better validation AUC")
    parser.add_argument("--validation-only", action="store_true", help="leave the third part alone, to choose")
    asked = parser.parse_args()
    folder = {source(f"lastfm-kg/{name}.parquet").parent for name in FILES}.pop()
    try:
        report = run(
            folder,
            asked.model,
            asked.set,
            seed=asked.seed,
            device=asked.device,
            patience=asked.patience,
            test=not asked.validation_only,
        )
    except RecloopError as error:
        sys.exit(f"error: {error}")
    if asked.out is not None:
        write_json(report, asked.out)
    for part in [part for part in ("valid", "metrics") if part in report]:
        print(part, *(f"{name} {value:.4g}" for name, value in report[part].items()))


def run(
    folder: Path,
    name: str,
    settings: Sequence[str] = (),
    *,
    seed: int = 0,
    device: str = "auto",
    patience: int = 5,
    test: bool = True,
) -> dict[str, Any]:
    """Train one model and measure how it tells listened artists from others.

    Args:
        folder: holds the three tables of `read`.
        name: the model's name.
        settings: ``KEY=VALUE`` parameters of the model.
        seed: seeds the samples, their division and the model.
        device: ``auto``, ``cpu`` or ``cuda``.
        patience: passes in a row without a better AUC on the second part after which training stops.
        test: whether to look at the third part.

    Returns:
        The report; the module's docstring says what it holds.

    Raises:
        ConfigError: a parameter, the seed or the device is unknown or of the wrong form.
        ModelError: the model is unknown or lacks something that it needs.
    """
    kind = models.find(name)
    config = parse(kind.Config, read_settings(settings), "--set")
    how = parse(TrainConfig, {"seed": seed, "device": device}, "lastfm-kg")
    context = FitContext(device=devices.choose(how.device), seed=seed)
    data, (_, valid, held) = read(folder, seed)
    check_needs(kind, data)
    model = kind(config, data.n_items, context.device)
    started = time.perf_counter()
    best, made = learn(model, data, valid, context, patience)
    model.load_tensors(best.tensors)
    fitted = time.perf_counter()
    found = shares(model, data.histories, held) if test else None
    report: dict[str, Any] = {
        "model": name,
        "config": config.model_dump(mode="json"),
        "device": str(context.device),
        "seed": seed,
        "passes": made if isinstance(model, IterativeModel) else 0,
        "valid": {"auc": best.auc, "f1": best.f1, "pass": best.passes},
    }
    if found is not None:
        report["metrics"] = {"auc": auc(found, held.liked), "f1": f1(found, held.liked, best.threshold)}
    return report | {
        "fit_seconds": round(fitted - started, 4),
        "rank_seconds": round(time.perf_counter() - fitted, 4),
        "peak_rss_mb": round(peak_rss_mb(), 1),
    }


@dataclass(frozen=True, kw_only=True)
class Best:
    """The pass that did best on the second part.

    Attributes:
        passes: how many had been made.
        auc: of that part.
        threshold: from which on a sample is called liked: that of the best F1.
        f1: with that threshold.
        tensors: what the model had learned.
    """

    passes: int
    auc: float
    threshold: float
    f1: float
    tensors: dict[str, Tensor]


def learn(model: Model, data: TrainingData, valid: Samples, context: FitContext, patience: int) -> tuple[Best, int]:
    """Train until `patience` passes brought no better AUC; the first best pass, and how many were made."""
    best, made = None, 0
    for _ in _passes(model, data, context):
        made += 1
        found = shares(model, data.histories, valid)
        reached = auc(found, valid.liked)
        if best is None or reached > best.auc:
            threshold = best_threshold(found, valid.liked)
            best = Best(
                passes=made,
                auc=reached,
                threshold=threshold,
                f1=f1(found, valid.liked, threshold),
                tensors={name: tensor.detach().cpu().clone() for name, tensor in model.tensors().items()},
            )
        elif made - best.passes >= patience:
            break
    assert best is not None, "a model makes a pass at least"
    return best, made


def _passes(model: Model, data: TrainingData, context: FitContext) -> Iterator[None]:
    """Train pass by pass; a model without passes all at once."""
    if not isinstance(model, IterativeModel):
        model.fit(data, context)
        yield
        return
    model.begin(data, context)
    for _ in range(model.epochs):
        model.advance(context)
        yield


def read(folder: Path, seed: int) -> tuple[TrainingData, list[Samples]]:
    """The data of the first part for training, and the samples of all three."""
    named = pl.read_parquet(folder / "item_entity.parquet").cast(pl.String)
    events = pl.read_parquet(folder / "interactions.parquet").cast(pl.String)
    events = events.join(named, on="item_id").unique(["user_id", "item_id"]).sort("user_id", "item_id")
    items, people = Vocabulary(named["item_id"]), Vocabulary(events["user_id"])
    users, liked = people.encode(events["user_id"]), items.encode(events["item_id"])
    random = np.random.default_rng(seed)
    order = random.random((len(people), len(items)))
    order[users, liked] = 2
    counts = np.bincount(users, minlength=len(people))
    room = np.minimum(counts, len(items) - counts)
    refused = np.argsort(order, axis=1)[np.arange(len(items)) < room[:, None]]
    everyone = np.concatenate([users, np.repeat(np.arange(len(people)), room)])
    everything = np.concatenate([liked, refused])
    labels = np.arange(len(everyone)) < len(users)
    shuffled = random.permutation(len(everyone))
    cuts = [round(share * len(everyone)) for share in SHARES]
    parts = [
        Samples(users=everyone[part], items=everything[part], liked=labels[part]) for part in np.split(shuffled, cuts)
    ]
    first = parts[0]
    histories = [np.sort(first.items[first.liked & (first.users == user)]).tolist() for user in range(len(people))]
    return TrainingData(
        histories=Contexts.from_lists(histories), n_items=len(items), knowledge=knowledge(folder, named, items)
    ), parts


def knowledge(folder: Path, named: pl.DataFrame, items: Vocabulary) -> Knowledge:
    """The graph, its entities that are artists of the catalogue named by those."""
    names = dict(zip(named["entity_id"], "item:" + named["item_id"], strict=True))
    triples = pl.read_parquet(folder / "kg.parquet").cast(pl.String)
    ends = [pl.col(end).replace_strict(names, default="entity." + pl.col(end)) for end in ("head", "tail")]
    return Knowledge.from_frame(triples.with_columns(ends), items)


def shares(model: Model, histories: Contexts, samples: Samples) -> NDArray[np.float32]:
    """The logarithm of each sample's share in the softmax over all items, given its user's history, (N,)."""
    found = np.empty(len(samples.users), dtype=np.float32)
    for start in range(0, len(histories), BATCH):
        rows = np.arange(start, min(start + BATCH, len(histories)))
        answers = torch.log_softmax(model.score(histories.take(rows)).cpu(), dim=1)
        at = np.flatnonzero((samples.users >= start) & (samples.users < start + BATCH))
        found[at] = answers.numpy()[samples.users[at] - start, samples.items[at]]
    return found


def auc(found: NDArray[np.float32], liked: NDArray[np.bool_]) -> float:
    """How often a positive scores above a negative; a tie counts half."""
    _, group, sizes = np.unique(found, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    positives, negatives = int(liked.sum()), int((~liked).sum())
    return float((ranks[liked].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def f1(found: NDArray[np.float32], liked: NDArray[np.bool_], threshold: float) -> float:
    """F1 of calling everything liked that scores at least `threshold`."""
    called = found >= threshold
    return float(2 * (called & liked).sum() / (called.sum() + liked.sum()))


def best_threshold(found: NDArray[np.float32], liked: NDArray[np.bool_]) -> float:
    """The threshold of the best F1 among 200 quantiles."""
    return max(np.quantile(found, np.linspace(0, 1, 200)).tolist(), key=lambda level: f1(found, liked, level))


if __name__ == "__main__":
    main()
