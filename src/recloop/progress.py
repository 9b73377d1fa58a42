"""Progress bars on a terminal; silence everywhere else."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def track(steps: Iterable[T], description: str) -> Iterator[T]:
    """Yield `steps`, showing a bar with the remaining time on standard error if it is a terminal."""
    if not sys.stderr.isatty():
        yield from steps
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(description, total=len(steps) if isinstance(steps, Sized) else None)
        for step in steps:
            yield step
            bars.advance(task)
