"""Does the world differ from what the champion knows? A daily look at drift and feedback, with a recorded verdict."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.states import Completed, Failed, State
from pydantic import Field

from flows import terminal
from flows.ingest import FEEDBACK
from flows.project import exclusive
from flows.stages import run_stages
from recloop.config import Config, load_params, parse, section
from recloop.data.tables import read_json
from recloop.errors import RecloopError
from recloop.loop.deployments import BUNDLE, POINTER
from recloop.sources import feedback, watermark
from recloop.store import Store

RETRAIN_EVENT = "recloop.monitor.retrain"
RESOURCE = {"prefect.resource.id": "recloop.monitor", "prefect.resource.name": "monitor"}
DRIFT = Path("artifacts/drift/drift.json")

Verdict = Literal["wait", "retrain", "alert"]


class MonitorConfig(Config):
    """When to retrain.

    Attributes:
        min_new_events: retrain once the store holds this many events that the data do not.
        on_drift: what to do when the newest window has drifted from the champion's: ``retrain`` if there are new
            events to learn from (``alert`` if not), always ``alert``, or ``ignore``.
    """

    min_new_events: int = Field(default=1000, ge=1, description="Events in the store that make retraining worth while.")
    on_drift: Literal["retrain", "alert", "ignore"] = Field(default="retrain", description="What drift leads to.")


def decide(config: MonitorConfig, new_events: int, drift: str | None) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons.

    Args:
        config: the rules.
        new_events: how many events the store holds that the data do not.
        drift: verdict of the drift stage; `None` if there is nothing yet that could drift.
    """
    enough = new_events >= config.min_new_events
    bound = f"{'at least' if enough else 'fewer than'} {config.min_new_events:,}"
    reasons = [f"{new_events:,} new events, {bound}."]
    if drift is None:
        reasons.append("Drift is not known: no model has been trained yet.")
    elif drift == "drift":
        reasons.append("The newest window has drifted from what the champion was trained on.")
    else:
        reasons.append(f"Drift: {drift}.")
    if enough:
        return "retrain", reasons
    if drift != "drift" or config.on_drift == "ignore":
        return "wait", reasons
    if config.on_drift == "alert" or not new_events:
        if not new_events:
            reasons.append("There is nothing new to learn from, so retraining would not help.")
        return "alert", reasons
    return "retrain", reasons


@flow(name="monitor")
def monitor() -> State:
    """Check drift and new feedback, decide whether to retrain, record the decision; 'retrain' starts the flow retrain.

    The rules stand in params.yaml under monitor.
    """
    log = get_run_logger()
    try:
        with exclusive(log) as working:
            params = load_params()
            config = parse(MonitorConfig, section(params, "monitor"), "params.yaml: monitor")
            options = section(section(params, "ingest"), FEEDBACK)
            origin = parse(feedback.Config, options, f"params.yaml: ingest.{FEEDBACK}")
            if (working.root / BUNDLE).is_dir():
                run_stages(working, only=["drift"], force=is_about_another_model(working.root))
            record = look(working.root, config, origin)
    except RecloopError as error:
        return Failed(message=str(error))
    if record["verdict"] == "retrain":
        emit_event(event=RETRAIN_EVENT, resource=RESOURCE, payload={"reasons": record["reasons"]})
    return Completed(message=f"{record['verdict']}: {' '.join(record['reasons'])}")


def is_about_another_model(root: Path) -> bool:
    """Whether the drift report is not about the champion that is in charge now.

    The champion is no dependency of the stage `drift`, so DVC does not run it again after a promotion or a rollback.
    """
    if not (root / POINTER).is_file():
        return False
    report = _report(root)
    return report is None or report.get("bundle") != read_json(root / POINTER)["bundle"]


@task(name="decide", task_run_name="decide")
def look(root: Path, config: MonitorConfig, origin: feedback.Config) -> Mapping[str, Any]:
    """Read the store and the drift report, decide, and record it in the store and in the UI.

    Args:
        root: the project's folder.
        config: the rules.
        origin: where ingestion takes feedback from.
    """
    report = _report(root)
    new_events = _new_events(root, origin)
    drift = report["verdict"] if report else None
    verdict, reasons = decide(config, new_events, drift)
    record = {
        "verdict": verdict,
        "reasons": reasons,
        "new_events": new_events,
        "drift": drift,
        "rules": config.model_dump(),
    }
    with Store.open(root=root) as store:
        store.decide("monitor", verdict, record)
    get_run_logger().info("%s: %s", verdict, " ".join(reasons))
    create_markdown_artifact(
        "\n".join([f"# {verdict}", *(f"- {reason}" for reason in reasons)]),
        key="monitor",
        description=f"{verdict}: {reasons[0]}",
    )
    return record


def _new_events(root: Path, origin: feedback.Config) -> int:
    data = root / "data"
    with Store.open(origin.url, root=root) as store:
        feedback.require_origin(store, data)
        return store.count_events(after=watermark(data, FEEDBACK))


def _report(root: Path) -> dict[str, Any] | None:
    path = root / DRIFT
    return read_json(path) if path.is_file() else None


if __name__ == "__main__":
    terminal.main(monitor)
