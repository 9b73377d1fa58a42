from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling, Completed, Pending, Running, Scheduled, State

from flows import leftovers


@flow
def nothing() -> None:
    """Does nothing."""


@pytest.mark.integration
@pytest.mark.slow
def test_what_a_killed_process_left_behind_is_settled(prefect_api: None):
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(nothing)
        ours, others = (
            client.create_deployment(flow_id=flow_id, name=tag, tags=[tag], enforce_parameter_schema=False)
            for tag in ("recloop", "other")
        )

        def begun(*states: State, deployment: UUID = ours) -> UUID:
            run = client.create_flow_run_from_deployment(deployment)
            for state in states:
                client.set_flow_run_state(run.id, state, force=True)
            return run.id

        def now(run: UUID) -> FlowRun:
            return client.read_flow_run(run)

        runs = [
            begun(*states)
            for states in ([Pending()], [Running()], [Running(), Cancelling()], [Scheduled()], [Completed()])
        ]
        foreign = begun(Running(), deployment=others)
        settled = leftovers.settle("recloop")
        assert {run.id for run in settled} == set(runs[:3])
        assert [now(run).state_type for run in runs] == [
            StateType.SCHEDULED,
            StateType.CRASHED,
            StateType.CANCELLED,
            StateType.SCHEDULED,
            StateType.COMPLETED,
        ]
        crashed = now(runs[1]).state
        assert crashed is not None
        assert crashed.message == "The process that served the flows was killed."
        assert now(foreign).state_type == StateType.RUNNING
        assert leftovers.settle("recloop") == []
