"""Stage `split`: validated interactions in; the training, validation and test parts and their summary out."""

from pathlib import Path

from pipelines import run
from recloop.config import load_params, parse, section
from recloop.data.splits import SplitConfig, split
from recloop.data.tables import read_parquet, write_json, write_parquet

ARTIFACTS = Path("artifacts")


def main() -> None:
    """Split the interactions as the parameters say."""
    config = parse(SplitConfig, section(load_params(), "split"), "params.yaml: split")
    parts = split(read_parquet(ARTIFACTS / "clean" / "interactions.parquet"), config)
    folder = ARTIFACTS / "split"
    for name in ("train", "valid", "test"):
        write_parquet(getattr(parts, name), folder / f"{name}.parquet")
    write_json(parts.summary, folder / "split.json")
    counts = parts.summary
    print(
        f"split: {counts['train_rows']} events to learn from, {counts['valid_examples']} questions for validation and "
        f"{counts['test_examples']} for test; {counts['cold_users']} test users have no training event, "
        f"{counts['empty_contexts']} questions have no context at all"
    )


if __name__ == "__main__":
    run(main)
