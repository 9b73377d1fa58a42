"""How quick the search of the catalogue is, and what its index takes.

    python -m benchmarks.catalogue                      100,000 items
    python -m benchmarks.catalogue --items 1000000

The titles have three to seven words, drawn by a power law from half as many words as there are items; the searches are
beginnings of one to six letters of words of titles, a third of them with a second word. Reported are the seconds that
making the index takes, the memory that it holds afterwards and that was needed at most meanwhile (as Python's
`tracemalloc` counts it, in a second run), and the milliseconds of a search: median, 99th percentile, largest.
Results go to `benchmarks/catalogue.json`.
"""

import argparse
import json
import os
import time
import tracemalloc

import numpy as np

from benchmarks.published.protocols import ROOT
from recloop.serving.catalogue import Index

RESULTS = ROOT / "benchmarks" / "catalogue.json"
SEARCHES = 2_000
LETTERS = np.array(list("etaoinshrdlucmfwygpbvk"))


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalogue")
    parser.add_argument("--items", type=int, default=100_000)
    n_items = parser.parse_args().items
    random = np.random.default_rng(0)
    ids, titles = [f"{number:07d}" for number in range(n_items)], _titles(random, n_items)
    order = random.permutation(n_items)
    started = time.perf_counter()
    index = Index(ids, titles, order)
    made = time.perf_counter() - started
    took: list[float] = []
    for query in _queries(random, titles):
        started = time.perf_counter()
        assert len(index.search(query, 20))
        took.append(1_000 * (time.perf_counter() - started))
    del index
    tracemalloc.start()
    index = Index(ids, titles, order)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index.search("", 1))
    record = {
        "items": n_items,
        "make_seconds": round(made, 2),
        "held_mib": round(held / 2**20, 1),
        "most_mib": round(most / 2**20, 1),
        "search_ms": {
            "median": round(float(np.median(took)), 3),
            "p99": round(float(np.quantile(took, 0.99)), 3),
            "largest": round(max(took), 3),
        },
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    RESULTS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1, sort_keys=True))


def _titles(random: np.random.Generator, n_items: int) -> list[str]:
    n_words = n_items // 2
    words = np.array(["".join(random.choice(LETTERS, length)) for length in random.integers(2, 10, n_words)])
    drawn = (n_words * random.power(0.3, (n_items, 7))).astype(int)
    return [
        " ".join(words[row[:many]]) for row, many in zip(drawn, random.integers(3, 8, n_items).tolist(), strict=True)
    ]


def _queries(random: np.random.Generator, titles: list[str]) -> list[str]:
    asked: list[str] = []
    for item in random.integers(0, len(titles), SEARCHES).tolist():
        own = titles[item].split()
        many = 1 + int(random.random() < 1 / 3)
        asked.append(" ".join(own[int(random.integers(len(own)))][: int(random.integers(1, 7))] for _ in range(many)))
    return asked


if __name__ == "__main__":
    main()
