"""What the server knows of a flow run."""

from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import Artifact, State


def tasks(state: State[Any]) -> dict[str, State[Any]]:
    """The final state of each task, in the order of their start."""
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(flow_run_filter=_only(state))
    started = sorted(found, key=lambda run: run.start_time or run.created)
    return {run.name: run.state for run in started if run.state}


def artifacts(state: State[Any]) -> dict[str, Artifact]:
    """The artifacts, by key."""
    with get_client(sync_client=True) as client:
        return {artifact.key or "": artifact for artifact in client.read_artifacts(flow_run_filter=_only(state))}


def _only(state: State[Any]) -> FlowRunFilter:
    return FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
