"""Stage `validate`: `data/` in; clean tables, quarantine, report and Data Docs out."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from pipelines import run
from recloop import clock
from recloop.config import load_params, parse, section
from recloop.data.tables import read_prompted, read_tables, write_json, write_parquet
from recloop.expectations.history import fingerprint, previous_rows, remember
from recloop.expectations.validation import ValidateConfig, validate

DATA = Path("data")
CLEAN = Path("artifacts/clean")
QUARANTINE = Path("artifacts/quarantine.parquet")
REPORT = Path("artifacts/validation/validation.json")
DOCS = Path("artifacts/validation/data_docs")
HISTORY = Path("artifacts/validation/history.json")  # not an output of the stage: it outlives runs


def main() -> None:
    """Validate the data; the report is written before a critical failure ends the stage."""
    config = parse(ValidateConfig, section(load_params(), "validate"), "params.yaml: validate")
    shutil.rmtree(CLEAN, ignore_errors=True)
    tables = read_tables(DATA)
    data = fingerprint(DATA)
    previous = previous_rows(HISTORY, data)
    validation = validate(
        tables, config, previous=previous, now=datetime.fromtimestamp(clock.seconds(), UTC), docs_folder=DOCS
    )
    write_parquet(validation.quarantine, QUARANTINE)
    write_json(validation.report, REPORT)
    validation.require()
    for name, frame in validation.clean.present().items():
        write_parquet(frame, CLEAN / f"{name}.parquet")
    write_parquet(read_prompted(DATA), CLEAN / "prompted.parquet")
    remember(HISTORY, data, validation.report["rows"])
    rows = validation.report["rows"]["interactions"]
    print(f"{rows} interactions validated, {validation.report['quarantined']} rows quarantined, report in {REPORT}")


if __name__ == "__main__":
    run(main)
