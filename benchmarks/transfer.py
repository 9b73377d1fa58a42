"""What pre-training on one domain gives to another with other items and other people, on MovieLens-1M.

    python -m benchmarks.transfer

The small domain is all films of science fiction or horror, the large one all others; a film is the words of its title,
its genres, its year and its decade. Half of the people, drawn at random, make up the large domain. Of the other half,
1,000 with at least five films of the small domain are asked for the last of these, given those before, among all films
of the small domain but those; they are never learnt from. Few others are: N of them, drawn anew for each seed.

The models have the defaults of `transfer_sequence` and are stopped early, each on the last events of the people that it
learns from; the questions are asked once. The means are over questions and then over seeds; the interval of a
difference is a bootstrap over the people asked, of their mean over seeds.

Results go to `benchmarks/transfer.json`, from which `benchmarks/TRANSFER.md` is written.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks.published.protocols import ROOT, source
from recloop import metrics, models
from recloop.columns import ITEM, TIME, USER, VALUE
from recloop.config import parse
from recloop.data.sequences import Contexts, Examples
from recloop.data.tables import TIMESTAMP, Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.evaluation.significance import bootstrap_mean
from recloop.metrics import Ranking
from recloop.models.base import FitContext, Model, TrainingData
from recloop.models.storage import Trained, save
from recloop.retrieval.exact import rank_examples
from recloop.training.config import EarlyStopping, TrainConfig
from recloop.training.loop import train

RESULTS = ROOT / "benchmarks" / "transfer.json"
TABLE = ROOT / "benchmarks" / "TRANSFER.md"
SMALL = ("Sci-Fi", "Horror")
LEARNERS = (30, 100, 300, 1000)
ASKED = 1000
NDCG = metrics.parse("ndcg@10")
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "popularity": ("popularity", {}),
    "sasrec, small domain alone": ("sasrec", {}),
    "small domain alone": ("transfer_sequence", {}),
    "pre-trained, not adapted": ("transfer_sequence", {"epochs": 0}),
    "pre-trained, encoder frozen": ("transfer_sequence", {"freeze": "encoder"}),
    "pre-trained, all adapted": ("transfer_sequence", {}),
}


def main() -> None:
    """Pre-train once a seed, adapt to every number of learners, ask."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfer")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learners", type=int, nargs="+", default=[*LEARNERS])
    options = parser.parse_args()
    began = time.perf_counter()
    items = films()
    events = interactions()
    small = items.filter(pl.col("categories").list.eval(pl.element().is_in(SMALL)).list.any())
    people = np.random.default_rng(0).permutation(events[USER].unique().sort().to_numpy())
    halves = [events.filter(pl.col(USER).is_in(half.tolist())) for half in np.array_split(people, 2)]
    large = learnt(halves[0].join(small, on=ITEM, how="anti"), items.join(small, on=ITEM, how="anti"))
    within = halves[1].join(small, on=ITEM, how="semi")
    regulars = np.random.default_rng(1).permutation(
        within.group_by(USER).len().filter(pl.col("len") >= 5)[USER].sort().to_numpy()
    )
    asked, others = regulars[:ASKED], regulars[ASKED:]
    questions = last_of(within.filter(pl.col(USER).is_in(asked.tolist())), small)
    found: dict[str, dict[int, list[NDArray[np.float64]]]] = {way: {n: [] for n in options.learners} for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            pretrained = Path(folder) / str(seed)
            passes = pretrain(large, items.join(small, on=ITEM, how="anti"), pretrained, seed)
            print(f"seed {seed}: pre-trained, {passes} passes, {time.perf_counter() - began:.0f} s", flush=True)
            for count in options.learners:
                drawn = np.random.default_rng([2, seed]).permutation(others)[:count]
                data = learnt(within.filter(pl.col(USER).is_in(drawn.tolist())), small)
                for way, (name, settings) in WAYS.items():
                    given = settings | ({"pretrained": str(pretrained)} if "pre-trained" in way else {})
                    model = fitted(name, given, data, seed)
                    found[way][count].append(ask(model, questions))
                    print(f"seed {seed}, {count} learners, {way}: {found[way][count][-1].mean():.4f}", flush=True)
    record = {
        "people": {"large": len(large.histories), "asked": len(questions), "could learn": len(others)},
        "items": {"large": large.n_items, "small": small.height},
        "seeds": options.seeds,
        "seconds": round(time.perf_counter() - began),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "ndcg@10": {way: {str(n): float(np.mean(runs)) for n, runs in by.items()} for way, by in found.items()},
        "gain": {way: {str(n): _gain(found, way, n) for n in options.learners} for way in WAYS if "pre-trained" in way},
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    TABLE.write_text(table(record))


def films() -> pl.DataFrame:
    """The items, in canonical form; their decade stands beside the year, so that near years share a word."""
    frame = pl.read_parquet(source("ml-1m/items.parquet"))
    return frame.select(
        pl.col("item_id").cast(pl.String).alias(ITEM),
        "title",
        pl.col("genres").str.split("|").alias("categories"),
        pl.format("year{} decade{}", "year", pl.col("year") // 10).alias("time"),
    ).sort(ITEM)


def interactions() -> pl.DataFrame:
    """All events, in time order for each person."""
    frame = pl.read_parquet(source("ml-1m/interactions.parquet"))
    return frame.select(
        pl.col("user_id").cast(pl.String).alias(USER),
        pl.col("item_id").cast(pl.String).alias(ITEM),
        pl.col("position").cast(pl.Int64).cast(TIMESTAMP).alias(TIME),
        pl.lit(1.0, dtype=pl.Float32).alias(VALUE),
    ).sort(USER, TIME)


def learnt(events: pl.DataFrame, items: pl.DataFrame) -> TrainingData:
    """All but the last event of each person to learn from, and the last ones as validation."""
    questions = last_of(events, items)
    before = questions.contexts(0, len(questions))
    data = TrainingData.from_tables(events.head(0), Vocabulary(items[ITEM]), Attributes(items=items))
    return replace(data, histories=before, valid=questions)


def last_of(events: pl.DataFrame, items: pl.DataFrame) -> Examples:
    """The last event of each person, to be found from those before."""
    histories = Contexts.from_frame(events, Vocabulary(events[USER]), Vocabulary(items[ITEM]))
    ends = histories.offsets[1:] - 1
    return Examples(
        histories=histories,
        users=np.arange(len(histories)),
        stops=histories.lengths - 1,
        offsets=np.arange(len(histories) + 1),
        targets=histories.items[ends],
        values=histories.values[ends],
    )


def fitted(name: str, settings: dict[str, Any], data: TrainingData, seed: int) -> Model:
    """A trained model; with ``epochs`` 0 one as it begins."""
    kind = models.find(name)
    context = FitContext(device=torch.device("cpu"), seed=seed)
    config = parse(kind.Config, {key: value for key, value in settings.items() if key != "epochs"}, name)
    model = kind(config, data.n_items)
    if settings.get("epochs") == 0:
        assert isinstance(model, models.IterativeModel), f"{name} has no beginning"
        model.begin(data, context)
    else:
        train(model, data, TrainConfig(early_stopping=EarlyStopping()), context)
    return model


def pretrain(data: TrainingData, items: pl.DataFrame, folder: Path, seed: int) -> int:
    """Train on the large domain and keep the model in `folder`; the passes made."""
    kind = models.find("transfer_sequence")
    model = kind(kind.Config(), data.n_items)
    context = FitContext(device=torch.device("cpu"), seed=seed)
    curves = train(model, data, TrainConfig(early_stopping=EarlyStopping()), context)
    save(Trained(model=model, vocabulary=Vocabulary(items[ITEM]), seed=seed), folder)
    return len(curves.points)


def ask(model: Model, questions: Examples) -> NDArray[np.float64]:
    """NDCG@10 of each question."""
    answers = list(rank_examples(model, questions, 10))
    ranking = Ranking(
        ranks=np.concatenate([answer.ranks for answer in answers]),
        offsets=questions.offsets,
        n_candidates=np.concatenate([answer.n_candidates for answer in answers]),
    )
    values = NDCG(ranking)
    assert isinstance(values, np.ndarray), "ndcg is a value a question"
    return values


def _gain(found: dict[str, dict[int, list[NDArray[np.float64]]]], way: str, count: int) -> list[float]:
    """Mean and bounds of the difference to the model that saw the small domain alone."""
    difference = np.mean(found[way][count], axis=0) - np.mean(found["small domain alone"][count], axis=0)
    return list(bootstrap_mean(difference, seed=0))


def table(record: dict[str, Any]) -> str:
    """TRANSFER.md."""
    counts = list(record["ndcg@10"]["popularity"])
    people, items = record["people"], record["items"]
    lines = [
        "# What pre-training gives to a small domain",
        "",
        "Written by `python -m benchmarks.transfer`, which says how it is measured. NDCG@10 of the next film of",
        f"science fiction or horror among {items['small']}, for {people['asked']:,} people of whom nothing was learnt,",
        f"with models that learn from few others; pre-trained on {people['large']:,} other people and the",
        f"{items['large']:,} films of all other genres. Means over {record['seeds']} seeds. Made in at most",
        f"{record['seconds']:,} s, beside other work, on {record['machine']}.",
        "",
        f"| learners | {' | '.join(counts)} |",
        f"| --- |{' --- |' * len(counts)}",
    ]
    for way, by in record["ndcg@10"].items():
        lines.append(f"| {way} | {' | '.join(f'{by[count]:.4f}' for count in counts)} |")
    lines += ["", "Gain over the small domain alone, with 95% intervals over people:", ""]
    lines += [f"| learners | {' | '.join(counts)} |", f"| --- |{' --- |' * len(counts)}"]
    for way, by in record["gain"].items():
        cells = [f"{mean:+.4f} ({low:+.4f} to {high:+.4f})" for mean, low, high in (by[count] for count in counts)]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
