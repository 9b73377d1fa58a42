"""Who is in charge: promote the packaged model, try it as a canary, go back to the one before, or build an image."""

import sys
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, Failed, State
from pydantic import Field

from flows import project
from flows.forms import choices
from flows.project import Project, exclusive, find_root
from recloop import clock
from recloop.config import load_params, parse, section
from recloop.errors import RecloopError
from recloop.loop import deployments, traffic
from recloop.loop.canary import CanaryConfig, Review, guard, review
from recloop.processes import environment
from recloop.store import Store

Action = choices("Action", ["promote", "rollback", "canary", "end_canary", "review_canary", "build"], keep=None)
REVIEW_CRON = "15 * * * *"
GUARD_CRON = "*/5 * * * *"
_NO_CANARY = "There is no canary; begin one with the action canary."


@flow(name="deploy")
def deploy(
    *,
    action: Action,
    share: Annotated[float, Field(gt=0, lt=1)] = 0.05,
    reason: str = "asked for in Prefect",
    interleave: bool = False,
) -> State:
    """Promote the packaged model, try it as a canary, roll back to the one before, or build a Bento of it.

    Args:
        action: promote puts artifacts/bundle in charge; rollback puts the previous champion in charge; canary shows
            artifacts/bundle to a share of the users, end_canary stops that, review_canary judges it; build makes a
            Bento, an image pinned to artifacts/bundle.
        share: Of the users, for a canary.
        reason: One sentence, recorded with the deployment.
        interleave: For a canary: show its users slates that both models pick in turns.
    """
    log = get_run_logger()
    try:
        with exclusive(log) as working:
            message = put_in_charge(working, str(action), reason, share=share, interleave=interleave)
    except RecloopError as error:
        return Failed(message=str(error))
    return Completed(message=message)


@flow(name="canary-review")
def canary_review() -> State:
    """Judge the canary, if there is one: promote it, end it, or let it go on; by the rules in params.yaml: canary."""
    log = get_run_logger()
    try:
        with exclusive(log) as working:
            message = put_in_charge(working, "review_canary", "reviewed on schedule")
    except RecloopError as error:
        return Failed(message=str(error))
    return Completed(message=message)


@flow(name="canary-guard")
def canary_guard() -> State:
    """End the canary, if there is one, when it fails, is slow, or shows less; by the rules in params.yaml: canary.

    It waits for no other flow: a canary that does harm must not go on while models are trained.
    """
    try:
        root = find_root()
        with Store.open(root=root) as store:
            found = guard(root, store, _rules(root), now=clock.now())
    except RecloopError as error:
        return Failed(message=str(error))
    if found is None:
        return Completed(message="Nothing to take back.")
    create_markdown_artifact(page(found), key="canary", description=found.message)
    return Completed(message=found.message)


def page(found: Review) -> str:
    """A review: what was done and why, the reward's interval, and every guardrail."""
    judged = found.judgement
    lines = [f"# {judged.verdict}", found.message, ""]
    lines += ["| figure | canary | champion | users or requests | p |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, one in found.guardrails.items():
        canary, champion = (
            f"{1e3 * x:.1f} ms" if name == "latency" else f"{x:.2%}" for x in (one.canary, one.champion)
        )
        lines.append(f"| {name} | {canary} | {champion} | {one.units[0]:,} / {one.units[1]:,} | {one.p:.2g} |")
    lines += ["", *(f"- {one.sentence}" for one in found.guardrails.values())]
    if judged.interval:
        low, high = (judged.interval[bound] for bound in ("low", "high"))
        between = "not known yet" if low is None or high is None else f"in [{low:+.4g}, {high:+.4g}]"
        people = f"{judged.users['canary']:,} users of the canary, {judged.users['champion']:,} of the champion"
        lines.append(f"- Reward a user, canary less champion: {judged.interval['estimate']:+.4g}, {between}; {people}.")
    return "\n".join(lines)


def _rules(root: Path) -> CanaryConfig:
    return parse(CanaryConfig, section(load_params(root / "params.yaml"), "canary"), "params.yaml: canary")


def put_in_charge(working: Project, action: str, reason: str, *, share: float = 0.05, interleave: bool = False) -> str:
    """Do `action` as a task of the current flow; returns what was done.

    Raises:
        RecloopError: it could not be done; the champion is who it was.
    """
    act = _act.with_options(name=action, task_run_name=action)
    state = act(working, action, reason, share, interleave, return_state=True)
    if not state.is_completed():
        raise RecloopError(state.message or f"{action} failed.")
    return state.message or action


@task
def _act(working: Project, action: str, reason: str, share: float, interleave: bool) -> State:  # noqa: FBT001 - a task
    try:
        if action == "build":
            message = _build(working)
        else:
            with Store.open(root=working.root) as store:
                message = _change(working.root, store, action, reason, share, interleave=interleave)
    except RecloopError as error:
        return Failed(message=str(error))
    create_markdown_artifact(f"{message}\n\nReason: {reason}", key="deployment", description=message)
    return Completed(message=message)


def _change(root: Path, store: Store, action: str, reason: str, share: float, *, interleave: bool) -> str:
    match action:
        case "promote":
            return deployments.promote(root, store, reason=reason).message
        case "canary":
            return traffic.begin_canary(root, store, share=share, reason=reason, interleave=interleave).message
        case "end_canary":
            canary = store.traffic().canary
            if canary is None:
                raise RecloopError(_NO_CANARY)
            return traffic.end(root, store, bundle=canary.bundle, reason=reason).message
        case "review_canary":
            found = review(root, store, _rules(root), now=clock.now())
            if found is None:
                return _NO_CANARY
            create_markdown_artifact(page(found), key="canary", description=found.message)
            return found.message
        case _:
            return deployments.rollback(root, store, reason=reason).message


def _build(working: Project) -> str:
    if not (working.root / "artifacts/bundle/manifest.json").is_file():
        raise RecloopError("artifacts/bundle holds no packaged model; run the flow 'train' first.")
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag"]
    env = environment()
    status, last = project.run(command, working, env=env, folder=working.root, log=get_run_logger())
    if status:
        raise RecloopError(f"'bentoml build' ended with status {status} ({last}); its log says more.")
    tag = last.removeprefix("__tag__:")
    with Store.open(root=working.root) as store:
        deployments.note_bento(working.root, store, tag)
    return f"Built {tag}."
