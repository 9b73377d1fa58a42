"""Time and memory of evaluating one model on MovieLens-1M: 6,040 users x 3,416 items, every metric from ranks.

    python benchmarks/evaluation.py [model ...]

Needs the folder of the benchmark data, named by RECLOOP_BENCH_DATA (default: ../shared/data). Each model is measured in
a process of its own: seconds from a trained model to metrics with intervals, and the process's peak resident memory,
which includes Python, torch, the data and the trained model. The bounds are 5 seconds and 1.5 GiB.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("RECLOOP_BENCH_DATA", ROOT.parent / "shared" / "data"))
METRICS = ("ndcg@10", "recall@10", "precision@10", "f1@10", "map@10", "mrr@10", "hit@10", "auc", "coverage@10",
           "novelty@10", "gini@10", "popularity_bias@10")  # fmt: skip
MEASURE = """
import json, sys
from pathlib import Path
from recloop.benchmark import run
train, test, model, *metrics = sys.argv[1:]
print(json.dumps(run(train=Path(train), test=Path(test), model=model, metrics=metrics)))
"""


def main() -> None:
    """Measure the models named on the command line, popularity and ease by default."""
    source = DATA / "ml-1m" / "interactions.parquet"
    if not source.is_file():
        sys.exit(f"{source} does not exist; name the folder of the benchmark data by RECLOOP_BENCH_DATA.")
    frame = pl.read_parquet(source)
    last = pl.col("position") == pl.col("position").max().over("user_id")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("| model | fit s | evaluate s | peak MiB | recall@10 | ndcg@10 |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        train, test = Path(folder) / "train.parquet", Path(folder) / "test.parquet"
        frame.filter(~last).write_parquet(train)
        frame.filter(last).write_parquet(test)
        for model in sys.argv[1:] or ["popularity", "ease"]:
            command = [sys.executable, "-c", MEASURE, str(train), str(test), model, *METRICS]
            report = json.loads(subprocess.check_output(command, text=True))
            times = f"{report['fit_seconds']:.2f} | {report['rank_seconds']:.2f} | {report['peak_rss_mb']:,.0f}"
            metrics = report["metrics"]
            print(f"| {model} | {times} | {metrics['recall@10']:.4f} | {metrics['ndcg@10']:.4f} |")


if __name__ == "__main__":
    main()
