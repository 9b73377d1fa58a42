"""Stage `drift`: what the champion was trained on, compared with what came later; without one, the packaged model."""

from datetime import datetime
from pathlib import Path

from pipelines import run
from recloop.config import load_params, parse, section
from recloop.data.bundles import verify
from recloop.data.tables import read_attributes, read_json, read_parquet, write_json
from recloop.drift.config import DriftConfig
from recloop.drift.detect import Drift, detect
from recloop.drift.held_out import HeldOut
from recloop.drift.report import write
from recloop.drift.windows import cut
from recloop.models.storage import load

ARTIFACTS = Path("artifacts")
CLEAN = ARTIFACTS / "clean"
PROMPTED = CLEAN / "prompted.parquet"
POINTER = ARTIFACTS / "champion/champion.json"


def main() -> None:
    """Write artifacts/drift/drift.json (the verdict and the bundle that it is about), drift.html and evidently.json."""
    config = parse(DriftConfig, section(load_params(), "drift"), "params.yaml: drift")
    interactions = read_parquet(CLEAN / "interactions.parquet")
    bundle = ARTIFACTS / "bundles" / read_json(POINTER)["bundle"] if POINTER.is_file() else ARTIFACTS / "bundle"
    manifest = verify(bundle)
    first, last = (datetime.fromisoformat(moment) for moment in manifest["data"]["train_window"])
    reference, current = cut(interactions, (first, last), config.window_days)
    known = manifest["data"].get("window")
    held_out = HeldOut(
        interactions=interactions,
        learned_until=last,
        known_until=datetime.fromisoformat(known[1]) if known else None,
        prompted=read_parquet(PROMPTED) if PROMPTED.is_file() else None,
        people=read_attributes(CLEAN).users,
    )
    drift = detect(reference, current, config, load(bundle), held_out)
    folder = ARTIFACTS / "drift"
    write_json({"bundle": manifest["id"]} | drift.record(), folder / "drift.json")
    write(drift, folder / "drift.html", folder / "evidently.json")
    print(_summary(drift))


def _summary(drift: Drift) -> str:
    drifted = [check.name for check in drift.checks if check.drifted]
    counts = f"{drift.reference['rows']:,} events of training against {drift.current['rows']:,} newer ones"
    return f"drift: {drift.verdict} ({counts}){': ' if drifted else ''}{', '.join(drifted)}"


if __name__ == "__main__":
    run(main)
