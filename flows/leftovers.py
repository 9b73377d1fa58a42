"""Runs that were under way when the process that serves the flows was killed.

Prefect marks a run whose process dies as crashed, since the one that started it sees that; where that one died as well
nobody does, and the run would seem to go on for ever.
"""

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Crashed, Scheduled, State

CRASHED = "The process that served the flows was killed."
_UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def settle(tag: str) -> list[FlowRun]:
    """Settle the unfinished runs of the deployments with this tag, which nobody else may serve; those that were.

    What had begun has crashed, what was to be cancelled is cancelled, and what had not begun yet is planned anew.
    """
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))),
            deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[tag])),
        )
        for run in found:
            _settle(client, run)
    return found


def _settle(client: SyncPrefectClient, run: FlowRun) -> None:
    state: State
    match run.state_type:
        case StateType.PENDING:
            state = Scheduled()
        case StateType.CANCELLING:
            state = Cancelled()
        case _:
            state = Crashed(message=CRASHED)
    client.set_flow_run_state(run.id, state, force=True)
