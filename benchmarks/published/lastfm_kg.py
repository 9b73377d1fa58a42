"""Click-through prediction on Last.FM with a knowledge graph, by the protocol of KGCN (Wang et al., WWW 2019).

Listened artists are positives; each user gets as many negatives, drawn from the artists never listened to. All samples
are split 60/20/20 at random by the seed. A model learns from the positives of the first part; AUC and F1 are computed
over all samples of a part together, from the scores that the user's history in the first part gets. The pass with the
best AUC on the second part is reported on the third, which nothing else looks at; so is the threshold of F1 chosen.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
import yaml
from numpy.typing import NDArray

from recloop import models
from recloop.config import parse
from recloop.data.knowledge import Knowledge
from recloop.data.sequences import Contexts
from recloop.data.vocabulary import Vocabulary
from recloop.models.base import FitContext, IterativeModel, Model, TrainingData, check_needs

ROOT = Path(__file__).resolve().parents[2]
SHARES = (0.6, 0.8)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples of one part: who, what, and whether it was listened to."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    liked: NDArray[np.bool_]


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


def scores(model: Model, histories: Contexts, samples: Samples, *, share: bool) -> NDArray[np.float32]:
    """The score of each sample; with `share` the logarithm of its share in the softmax over all items."""
    found = np.empty(len(samples.users), dtype=np.float32)
    for start in range(0, len(histories), 256):
        rows = np.arange(start, min(start + 256, len(histories)))
        answers = model.score(histories.take(rows)).cpu()
        answers = torch.log_softmax(answers, dim=1) if share else answers
        at = np.flatnonzero((samples.users >= start) & (samples.users < start + 256))
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


def main() -> None:
    """Train one model by name and print what it reaches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=models.names())
    parser.add_argument("parameters", nargs="*", help="name=value")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", action="store_true", help="compare shares of the softmax instead of scores")
    parser.add_argument("--patience", type=int, default=5, help="passes without a better validation AUC")
    parser.add_argument("--validation-only", action="store_true", help="leave the third part alone, to choose")
    asked = parser.parse_intermixed_args()
    folder = Path(os.environ.get("RECLOOP_BENCH_DATA", ROOT.parent / "shared" / "data")) / "lastfm-kg"
    data, (_, valid, test) = read(folder, asked.seed)
    kind = models.find(asked.model)
    check_needs(kind, data)
    given = {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in asked.parameters)}
    model = kind(parse(kind.Config, given, asked.model), data.n_items)
    context = FitContext(device=torch.device("cpu"), seed=asked.seed)
    start, best, passes = time.perf_counter(), -1.0, 0
    if isinstance(model, IterativeModel):
        model.begin(data, context)
    else:
        model.fit(data, context)
    for epoch in range(model.epochs if isinstance(model, IterativeModel) else 1):
        if isinstance(model, IterativeModel):
            model.advance(context)
        found = scores(model, data.histories, valid, share=asked.share)
        if auc(found, valid.liked) > best:
            best, passes = auc(found, valid.liked), epoch + 1
            threshold = best_threshold(found, valid.liked)
            kept = {name: tensor.clone() for name, tensor in model.tensors().items()}
        elif epoch + 1 - passes >= asked.patience:
            break
    line = f"{asked.model} {given} seed {asked.seed}: pass {passes}, validation AUC {best:.4f}"
    if not asked.validation_only:
        model.load_tensors(kept)
        found = scores(model, data.histories, test, share=asked.share)
        line += f", test AUC {auc(found, test.liked):.4f} F1 {f1(found, test.liked, threshold):.4f}"
    print(f"{line}, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
