"""Milliseconds of an explanation, and of a slate with reasons beside one without.

    python -m benchmarks.explain
    python -m benchmarks.explain --models ease --people 50

In one process with one thread, as a worker of the service computes; bundles of MovieLens-1M. For each of some known
people, drawn at random: a slate of ten items that was not kept, the reasons for its items, and the explanation of its
first item. Results go to `benchmarks/explain.json`.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.published.protocols import ROOT
from benchmarks.serving.bundles import bundle, movielens
from recloop.columns import USER
from recloop.serving.answer import Answer
from recloop.serving.bundle import Bundle
from recloop.serving.reasons import explained, reasoned
from recloop.serving.recommender import Recommender
from recloop.serving.schemas import ExplainRequest, RecommendRequest
from recloop.serving.traffic import Served

RESULTS = ROOT / "benchmarks" / "explain.json"
T = TypeVar("T")


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain")
    parser.add_argument("--models", nargs="+", default=["ease", "als", "sasrec"])
    parser.add_argument("--people", type=int, default=200)
    options = parser.parse_args()
    interactions = movielens()
    known = interactions[USER].unique().sort().to_list()
    people = np.random.default_rng(0).choice(known, options.people, replace=False).tolist()
    record: dict[str, Any] = {"cores": os.cpu_count(), "people": options.people, "rows": []}
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            path = bundle(Path(folder) / "bundle", name, interactions, {"cache": 0})
            torch.set_num_threads(1)
            row = measure(Recommender(Bundle.load(path)), people)
        record["rows"].append({"model": name, "load": round(os.getloadavg()[0], 1), **row})
        print(json.dumps(record["rows"][-1]))
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def measure(recommender: Recommender, people: list[str]) -> dict[str, Any]:
    """Median and 95th percentile of the milliseconds of each step, and the median number of events of the people."""
    served, lengths = Served(only=recommender), list[int]()
    times: dict[str, list[float]] = {"recommend": [], "reasons": [], "explain": []}

    def timed(step: str, call: Callable[[], T]) -> T:
        begun = time.perf_counter()
        result = call()
        times[step].append(1e3 * (time.perf_counter() - begun))
        return result

    for user in people:
        request = RecommendRequest(user_id=user, reasons=True)
        slate = timed("recommend", partial(recommender.recommend, user_id=user))
        answered = Answer(by=recommender, slate=slate, arm="champion")
        timed("reasons", partial(reasoned, served, answered, request))
        asked = ExplainRequest(user_id=user, item_id=slate.items[0].item_id, k=10)
        timed("explain", partial(explained, recommender, asked))
        lengths.append(len(recommender.bundle.histories.take(np.array([recommender.bundle.users.index(user)])).items))
    figures = {
        f"{step}_ms": {"p50": round(median(found), 2), "p95": round(quantiles(found, n=20)[-1], 2)}
        for step, found in times.items()
    }
    return {"events_p50": median(lengths), **figures}


if __name__ == "__main__":
    main()
