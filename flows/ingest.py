"""New data: a source becomes canonical tables under `data/`, and DVC records their version in `data.dvc`."""

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import TaskRun
from prefect.states import Completed, Failed, State
from prefect.tasks import Task

from flows import terminal
from flows.forms import choices, chosen
from flows.project import Log, Project, exclusive
from recloop import sources
from recloop.config import load_params
from recloop.errors import RecloopError
from recloop.ingestion import IngestReport
from recloop.ingestion import ingest as read_source
from recloop.parameters import override

FEEDBACK = "feedback"
TIMEOUT_SECONDS = 12 * 3600

SourceName = choices("SourceName", sources.names())


@flow(name="ingest")
def ingest(*, source: SourceName = SourceName.KEEP) -> State:
    """Read a source, write canonical tables to data/ and record their version with DVC.

    Args:
        source: Where the data come from; its options stand in params.yaml, and the choice is written there. Feedback is
            different: it adds the new events of the store to the data, and the source stays what it is.
    """
    log = get_run_logger()
    try:
        with exclusive(log) as working:
            report = take_in(working, chosen(source), log)
    except RecloopError as error:
        return Failed(message=str(error))
    return Completed(message=sentence(report))


def take_in(working: Project, source: str | None, log: Log) -> IngestReport:
    """Ingest as a task of the current flow; a source that replaces the data becomes the one of `params.yaml`.

    Raises:
        RecloopError: the source cannot be read or its tables break a rule, and the data are as they were; or
            `params.yaml` cannot be changed.
    """
    state = ingest_data.with_options(task_run_name=f"ingest {source or 'data'}")(working, source, return_state=True)
    if not state.is_completed():
        raise RecloopError(state.message or "The data could not be ingested.")
    if source is not None and source != FEEDBACK:
        override(working.root, {"ingest.source": source}, log.info)
    return state.result()


def sentence(report: IngestReport) -> str:
    """What was ingested, in one sentence."""
    rows = ", ".join(f"{count:,} {table}" for table, count in sorted(report.rows.items()))
    news = "is new" if report.changed else "is what there was"
    pushed = ", pushed to the remote" if report.pushed else ""
    return f"{report.source}: {rows}; version {report.version} {news}{pushed}."


def _is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return not isinstance(state.data, RecloopError)


@task(
    name="ingest data",
    timeout_seconds=TIMEOUT_SECONDS,
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=_is_transient,
)
def ingest_data(working: Project, source: str | None) -> State:
    """Call the library, show what came of it."""
    log = get_run_logger()
    try:
        params = load_params(working.root / "params.yaml")
        report = read_source(params, working.root, source=source, wait=True)
    except RecloopError as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence is meant for a person
        create_markdown_artifact(f"**Nothing was ingested.** {error}", key="failure", description="Why ingest failed")
        return Failed(message=str(error), data=error)
    text = sentence(report)
    log.info("%s", text)
    rows = [f"| {table} | {count:,} |" for table, count in sorted(report.rows.items())]
    create_markdown_artifact(
        "\n".join([text, "", "| table | rows |", "| --- | ---: |", *rows]), key="ingest", description=text
    )
    return Completed(name="Completed" if report.changed else "Cached", message=text, data=report)


if __name__ == "__main__":
    terminal.main(ingest)
