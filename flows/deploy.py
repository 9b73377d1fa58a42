"""Who is in charge: promote the packaged model, go back to the one before, or build an image of it."""

import sys

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, Failed, State

from flows import project
from flows.forms import choices
from flows.project import Project, exclusive
from recloop.errors import RecloopError
from recloop.loop import deployments
from recloop.processes import environment
from recloop.store import Store

Action = choices("Action", ["promote", "rollback", "build"], keep=None)


@flow(name="deploy")
def deploy(*, action: Action, reason: str = "asked for in Prefect") -> State:
    """Promote the packaged model, roll back to the one before, or build a Bento of the packaged model.

    Args:
        action: promote puts artifacts/bundle in charge; rollback puts the previous champion in charge; build makes a
            Bento, an image pinned to artifacts/bundle.
        reason: One sentence, recorded with the deployment.
    """
    log = get_run_logger()
    try:
        with exclusive(log) as working:
            message = put_in_charge(working, str(action), reason)
    except RecloopError as error:
        return Failed(message=str(error))
    return Completed(message=message)


def put_in_charge(working: Project, action: str, reason: str) -> str:
    """Do `action` as a task of the current flow; returns what was done.

    Raises:
        RecloopError: it could not be done; the champion is who it was.
    """
    state = _act.with_options(name=action, task_run_name=action)(working, action, reason, return_state=True)
    if not state.is_completed():
        raise RecloopError(state.message or f"{action} failed.")
    return state.message or action


@task
def _act(working: Project, action: str, reason: str) -> State:
    try:
        if action == "build":
            message = _build(working)
        else:
            change = deployments.promote if action == "promote" else deployments.rollback
            with Store.open(root=working.root) as store:
                message = change(working.root, store, reason=reason).message
    except RecloopError as error:
        return Failed(message=str(error))
    create_markdown_artifact(f"{message}\n\nReason: {reason}", key="deployment", description=message)
    return Completed(message=message)


def _build(working: Project) -> str:
    if not (working.root / "artifacts/bundle/manifest.json").is_file():
        raise RecloopError("artifacts/bundle holds no packaged model; run the flow 'train' first.")
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag"]
    env = environment()
    status, last = project.run(command, working, env=env, folder=working.root, log=get_run_logger())
    if status:
        raise RecloopError(f"'bentoml build' ended with status {status} ({last}); its log says more.")
    return f"Built {last.removeprefix('__tag__:')}."
