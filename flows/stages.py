"""DVC stages as Prefect tasks. The graph is read from DVC, so it is written once, in `dvc.yaml`.

Each stage runs in process through DVC's own `Repo.reproduce`, one at a time, in the order of the graph: what a flow has
done, `dvc repro` need not do again, and the other way round. What was added (`data.dvc`) is a node of the graph too: if
the data have changed, their version is recorded before any stage reads them.
"""

import contextlib
import logging
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import TaskRun
from prefect.states import Completed, Failed, State
from prefect.tasks import Task

from flows import artifacts, project
from flows.project import Log, Project
from pipelines import ERROR_FILE
from recloop.errors import RecloopError
from recloop.processes import environment

RETRIES = 1
RETRY_SECONDS = 5
TIMEOUT_SECONDS = 6 * 3600
CALLER_ERROR = 2
"""Exit status of a stage that refuses what it was given: trying again cannot help."""

Outcome = Literal["run", "restored", "unchanged"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A node of the graph.

    Attributes:
        address: ``validate``, ``train@ease`` (one element of a matrix) or ``data.dvc``.
        needs: addresses of the stages that must come first.
        description: from `dvc.yaml`.
    """

    address: str
    needs: tuple[str, ...]
    description: str

    @property
    def name(self) -> str:
        """The address without the element of the matrix."""
        return self.address.partition("@")[0]


class StageError(RecloopError):
    """A stage failed; the message is its own sentence where it left one.

    Attributes:
        transient: it may help to try again.
        refused: the stage ran and refused what it was given.
    """

    def __init__(self, sentence: str, *, transient: bool = False, refused: bool = False) -> None:
        super().__init__(sentence)
        self.transient = transient
        self.refused = refused


def read_graph(working: Project) -> list[Stage]:
    """All stages, each after those that it needs.

    Raises:
        StageError: `dvc.yaml`, `params.yaml` or a `.dvc` file is not valid.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(working.root)) as repo:
            graph = repo.index.graph
            stages = {
                node.addressing: Stage(
                    address=node.addressing,
                    needs=tuple(sorted(need.addressing for need in graph.successors(node))),
                    description=node.desc or "",
                )
                for node in repo.index.stages
            }
    except DvcException as error:
        raise StageError(f"DVC cannot read the stages ({_one_line(error)}); correct that.") from None
    order = TopologicalSorter({stage.address: stage.needs for stage in stages.values()}).static_order()
    return [stages[address] for address in order]


def reproduce(working: Project, address: str, log: Log, *, force: bool = False) -> Outcome:
    """Bring one stage up to date, sending what its command prints to `log`.

    Args:
        working: the project.
        address: of the stage.
        log: is sent the lines.
        force: run its command even if nothing has changed that DVC knows of.

    Returns:
        ``run`` if its command was run, ``restored`` if DVC had its outputs in the cache, ``unchanged`` if nothing was
        due.

    Raises:
        StageError: it failed.
    """
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.lock import LockError
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    with _commands(working, address, log) as commands, Repo(str(working.root)) as repo:
        waiting = False
        while True:
            try:
                changed = repo.reproduce([address], single_item=True, force=force)
            except DvcException as error:
                cause = error.__cause__ if isinstance(error, ReproductionError) else error
                if commands.failure:
                    raise commands.failure from None
                if not isinstance(cause, LockError):
                    raise StageError(_dvc_sentence(address, cause or error)) from None
                if not waiting:
                    log.info("Another DVC command works on this project; waiting until it has finished.")
                waiting = True
                time.sleep(1)
            else:
                break
    if not changed:
        return "unchanged"
    return "run" if commands.ran or address.endswith(".dvc") else "restored"


def run_stages(working: Project, only: Sequence[str] | None = None, *, force: bool = False) -> dict[str, str]:
    """Run the stages of the project as tasks of the current flow, in order.

    Args:
        working: the project.
        only: names of stages; `None` means all.
        force: run their commands even if nothing has changed that DVC knows of.

    Returns:
        the state's name for each stage: ``Completed``, or ``Cached`` if nothing had to be run.

    Raises:
        StageError: a stage failed; those after it were not started.
    """
    states: dict[str, State[Outcome]] = {}
    for stage in read_graph(working):
        if only is not None and stage.name not in only:
            continue
        state = _as_task(stage)(
            working,
            stage,
            force=force,
            wait_for=[states[need] for need in stage.needs if need in states],
            return_state=True,
        )
        if not state.is_completed():
            raise StageError(state.message or f"Stage {stage.address} failed.")
        states[stage.address] = state
    return {address: state.name or "Completed" for address, state in states.items()}


def summary(states: dict[str, str]) -> str:
    """How many stages ran, in one sentence."""
    cached = sum(name == "Cached" for name in states.values())
    return f"{len(states) - cached} stages run, {cached} up to date."


def _as_task(stage: Stage) -> Task[..., Any]:
    """Each stage is a task of its own, without tags: Prefect asks the server for a slot for each, up to a second."""
    return _reproduce_stage.with_options(
        name=stage.address,
        task_run_name=stage.address,
        description=stage.description or None,
        timeout_seconds=TIMEOUT_SECONDS,
    )


def _is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, StageError) and state.data.transient


@task(retries=RETRIES, retry_delay_seconds=RETRY_SECONDS, retry_condition_fn=_is_transient)
def _reproduce_stage(working: Project, stage: Stage, *, force: bool) -> State[Any]:
    log = get_run_logger()
    try:
        outcome = reproduce(working, stage.address, log, force=force)
        artifacts.publish(stage.name, working.root)
    except RecloopError as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence is meant for a person; a traceback would hide it
        if isinstance(error, StageError) and error.refused:
            artifacts.publish_refusal(stage.name, working.root)
        create_markdown_artifact(
            f"**{stage.address} failed.** {error}", key="failure", description=f"Why {stage.address} failed"
        )
        return Failed(message=str(error), data=error)
    if outcome == "run":
        return Completed(message="Done.", data=outcome)
    message = {"unchanged": "Nothing has changed.", "restored": "Outputs restored from the cache of DVC."}[outcome]
    return Completed(name="Cached", message=message, data=outcome)


class _Commands:
    """What became of the commands of one stage."""

    def __init__(self) -> None:
        self.ran = False
        self.failure: StageError | None = None


@contextlib.contextmanager
def _commands(working: Project, address: str, log: Log) -> Generator[_Commands]:
    """Let DVC run commands through `project.run`: their output is logged, and they end when the flow does.

    DVC has no public way to say how a command is run, so its function is exchanged for the time being.
    """
    from dvc.stage import run as dvc_run
    from dvc.stage.exceptions import StageCmdFailedError

    commands = _Commands()
    original = dvc_run._run  # noqa: SLF001 - see the docstring
    with tempfile.TemporaryDirectory() as scratch:
        sentence = Path(scratch) / "error"

        def run(executable: str | None, command: str, *, cwd: str, env: dict[str, str], **_: Any) -> None:
            commands.ran = True
            env = environment(env) | {ERROR_FILE: str(sentence)}
            log.info("> %s", command)
            shell = [executable or "/bin/sh", "-c", command]
            status, last = project.run(shell, working, env=env, folder=Path(cwd), log=log)
            if status:
                left = sentence.read_text(encoding="utf-8").strip() if sentence.is_file() else ""
                commands.failure = StageError(
                    left or _sentence(address, status, last),
                    transient=status != CALLER_ERROR,
                    refused=status == CALLER_ERROR,
                )
                raise StageCmdFailedError(command, status)

        dvc_run._run = run  # noqa: SLF001
        try:
            yield commands
        finally:
            dvc_run._run = original  # noqa: SLF001


def _sentence(address: str, status: int, last: str) -> str:
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"Stage {address} {how}{f' ({last})' if last else ''}; its log says more."


def _dvc_sentence(address: str, error: BaseException) -> str:
    from dvc.dependency.base import DependencyDoesNotExistError
    from dvc.stage.exceptions import MissingDataSource

    if isinstance(error, FileNotFoundError | DependencyDoesNotExistError):
        return (
            f"Stage {address} needs what is not there ({_one_line(error)}); run the flow 'train' if a stage writes it, "
            "or restore it."
        )
    if isinstance(error, MissingDataSource):
        return f"The data of {address} are not there; run the flow 'ingest', or 'dvc pull' if they lie in a remote."
    return f"DVC cannot run {address} ({_one_line(error)}); correct that and run the flow again."


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
