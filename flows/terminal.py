"""Running one flow from a terminal, with a server that lives as long as the run if none is named."""

import logging
import sys
from typing import Any

from prefect import Flow
from rich.console import Console


def main(flow: Flow[..., Any]) -> None:
    """Run `flow` with the values of `params.yaml`; print its outcome, and end with status 2 if it failed."""
    logging.getLogger("prefect").addFilter(lambda record: record.levelno > logging.INFO)
    state = flow(return_state=True)
    Console(stderr=not state.is_completed(), highlight=False).print(
        f"{flow.name}: {state.message or state.name}", soft_wrap=True
    )
    sys.exit(0 if state.is_completed() else 2)
