"""The way back: feedback becomes data, the stages run on it, and a winner takes over."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed, Failed, State

from flows import terminal
from flows.deploy import put_in_charge
from flows.ingest import FEEDBACK, sentence, take_in
from flows.project import Log, Project, exclusive
from flows.stages import run_stages, summary
from recloop import clock
from recloop.data.tables import read_json
from recloop.errors import RecloopError
from recloop.loop.decision import DONE, FAILED, begin, end, open_request, owner
from recloop.loop.deployments import why_spent
from recloop.store import Store


@flow(name="retrain")
def retrain(*, deploy: bool = True, only_if_asked: bool = False) -> State:
    """Take in the feedback of the store, run every stage, and put the winner in charge if the gate promotes it.

    Args:
        deploy: Put the winner in charge; if not, only package it.
        only_if_asked: Do nothing unless the flow monitor has decided to retrain and no run has answered that yet.
    """
    log = get_run_logger()
    try:
        with exclusive(log) as working, Store.open(root=working.root) as store:
            asked = open_request(store)
            if only_if_asked and asked is None:
                return Completed(message="Nothing was done: the last decision to retrain was carried out already.")
            now = clock.now()
            flight = begin(store, asked.seq if asked else None, owner(working.root), now=now)
            if flight is None:
                return Completed(message="Nothing was done: another project retrains on this store already.")
            try:
                message = _carried_out(working, log, deploy=deploy)
            except RecloopError as error:
                end(store, flight, FAILED, str(error))
                raise
            end(store, flight, DONE, message)
    except RecloopError as error:
        return Failed(message=str(error))
    return Completed(message=message)


def _carried_out(working: Project, log: Log, *, deploy: bool) -> str:
    report = take_in(working, FEEDBACK, log)
    states = run_stages(working)
    decision = read_json(working.root / "artifacts/gate/decision.json")
    outcome = f"Gate: {decision['verdict']} ({decision['reasons'][0]})"
    if deploy and decision["verdict"] == "promote":
        spent = None if states.get("gate") == "Completed" else _why_spent(working.root, decision)
        outcome = spent or put_in_charge(working, "promote", decision["reasons"][0])
    return f"{sentence(report)} {summary(states)} {outcome}"


def _why_spent(root: Path, decision: Mapping[str, Any]) -> str | None:
    with Store.open(root=root) as store:
        return why_spent(root, store, decision)


if __name__ == "__main__":
    terminal.main(retrain)
