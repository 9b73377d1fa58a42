"""Registers every flow with a Prefect server and runs what is started there, by hand, by schedule or by event.

python -m flows.serve                            with the server that PREFECT_API_URL names
python -m flows.serve --with-server --port 4200  with a server of its own, for as long as it runs
"""

import argparse
import contextlib
import inspect
import os
import signal
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from flows import server
from flows.project import RUNNER_VARIABLE, find_root, serving
from recloop.errors import RecloopError

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

NAME = "default"
TAG = "recloop"
MONITOR_CRON = "0 5 * * *"
POLL_SECONDS = 2
"""How often to ask the server for runs to start."""


def deployments() -> "list[RunnerDeployment]":
    """One deployment for each flow; their forms are made of the flows' parameters."""
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    from flows import deploy, ingest, monitor, retrain, train, tune

    trigger = DeploymentEventTrigger(
        name="monitor asks for retraining",
        expect={monitor.RETRAIN_EVENT},
        match={"prefect.resource.id": monitor.RESOURCE["prefect.resource.id"]},
        parameters={"only_if_asked": True},
    )
    flows = {
        ingest.ingest: {},
        train.train: {},
        monitor.monitor: {"cron": MONITOR_CRON},
        retrain.retrain: {"triggers": [trigger]},
        deploy.deploy: {},
        deploy.canary_review: {"cron": deploy.REVIEW_CRON},
        deploy.canary_guard: {"cron": deploy.GUARD_CRON},
        tune.tune: {},
    }
    return [
        flow.to_deployment(
            NAME,
            description=(inspect.getdoc(flow.fn) or "").partition("\n\nArgs:")[0],
            tags=[TAG],
            entrypoint_type=EntrypointType.MODULE_PATH,
            **options,
        )
        for flow, options in flows.items()
    ]


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m flows.serve", description="Register all flows and run them.")
    parser.add_argument("--with-server", action="store_true", help="also run a Prefect server with its UI")
    parser.add_argument("--port", type=int, default=4200, help="port of that server on 127.0.0.1 (default: 4200)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _serve(with_server=options.with_server, port=options.port)
    except RecloopError as error:
        Console(stderr=True, highlight=False).print(f"error: {error}", soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _serve(*, with_server: bool, port: int) -> None:
    given = os.environ.get("PREFECT_API_URL")
    if not with_server and not given:
        raise RecloopError("PREFECT_API_URL is not set; set it to a server's address, or add --with-server.")
    console = Console(highlight=False)
    root = find_root()
    with contextlib.ExitStack() as stack:
        stack.enter_context(serving(root))
        if given:
            console.print(f"Using the Prefect server of PREFECT_API_URL, {given}.")
        else:
            stack.enter_context(server.running(root, port, os.environ))
        server.quiet(os.environ)
        os.environ[RUNNER_VARIABLE] = str(os.getpid())
        from prefect import serve

        from flows import leftovers

        found = deployments()
        for run in leftovers.settle(TAG):
            console.print(f"Left behind by a process that was killed: {run.name}.")
        console.print(f"Prefect UI: {server.page(os.environ['PREFECT_API_URL'])}  (Ctrl-C stops it)")
        console.print(f"Flows: {', '.join(deployment.flow_name or '' for deployment in found)}")
        serve(*found, pause_on_shutdown=False, print_starting_message=False, query_seconds=POLL_SECONDS)


if __name__ == "__main__":
    main()
