"""Stage `evaluate`: one trained model and the test window in; metrics, per-user values, slates and timings out."""

import time
from pathlib import Path

from pipelines import run
from recloop.config import load_params, parse, section
from recloop.data.tables import read_attributes, read_json, read_parquet, write_json, write_parquet
from recloop.devices import choose
from recloop.evaluation.latency import latency_ms
from recloop.evaluation.questions import Questions, ask
from recloop.evaluation.ranking import EvaluateConfig, evaluate
from recloop.models import storage
from recloop.progress import track

ARTIFACTS = Path("artifacts")
SPLIT = ARTIFACTS / "split"
CLEAN = ARTIFACTS / "clean"
PROMPTED = CLEAN / "prompted.parquet"


def read_questions(config: EvaluateConfig) -> Questions:
    """The questions of the current split, as the parameters want them."""
    made = read_json(SPLIT / "split.json")
    return ask(
        *(read_parquet(SPLIT / f"{part}.parquet") for part in ("train", "valid", "test")),
        targets=made["targets"],
        strategy=made["strategy"],
        mask_seen=config.mask_seen,
        max_examples=config.max_examples,
        seed=config.seed,
        people=read_attributes(CLEAN).users,
        prompted=read_parquet(PROMPTED) if config.prompted != "ask" and PROMPTED.is_file() else None,
        must_leave_out=config.prompted == "leave_out",
    )


def main(name: str) -> None:
    """Evaluate the model `name`."""
    config = parse(EvaluateConfig, section(load_params(), "evaluate"), "params.yaml: evaluate")
    model, catalogue = storage.load(ARTIFACTS / "models" / name, choose(config.device))
    questions = read_questions(config)
    start = time.perf_counter()
    evaluation = evaluate(model, catalogue, questions, config, items=read_attributes(CLEAN).items, progress=track)
    seconds = time.perf_counter() - start
    latency = latency_ms(model, questions.examples(catalogue), k=config.k)

    folder = ARTIFACTS / "evaluation" / name
    write_json(evaluation.record(), folder / "metrics.json")
    write_parquet(evaluation.users, folder / "users.parquet")
    write_parquet(evaluation.slates, folder / "slates.parquet")
    write_json({"evaluate_seconds": seconds, "latency_ms": latency}, ARTIFACTS / "timings" / f"{name}.json")
    shown = ", ".join(f"{metric} {value:.4f}" for metric, value in list(evaluation.metrics.items())[:4])
    left_out = f"; {evaluation.left_out} that followed from slates were not asked" if evaluation.left_out else ""
    print(f"{name}: {shown} over {evaluation.users.height} users and {evaluation.examples} questions{left_out}")


if __name__ == "__main__":
    run(main)
