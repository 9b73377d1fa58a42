"""Progress bars on a terminal; silence everywhere else."""

import contextlib
import sys
from collections.abc import Generator, Iterable, Iterator, Sized
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")

_shown: ContextVar[Progress | None] = ContextVar("shown", default=None)
"""A terminal has room for one live display, so a bar inside another one's time joins its display."""


@contextlib.contextmanager
def busy(description: str) -> Generator[None]:
    """Show on standard error, if it is a terminal, that something goes on, and for how long it has."""
    with _display() as bars:
        task = bars.add_task(description, total=None) if bars else None
        try:
            yield
        finally:
            if bars and task is not None:
                bars.remove_task(task)


def track(steps: Iterable[T], description: str) -> Iterator[T]:
    """Yield `steps`, showing a bar with the remaining time on standard error if it is a terminal."""
    with _display() as bars:
        if bars is None:
            yield from steps
            return
        task = bars.add_task(description, total=len(steps) if isinstance(steps, Sized) else None)
        try:
            for step in steps:
                yield step
                bars.advance(task)
        finally:
            bars.remove_task(task)


@contextlib.contextmanager
def _display() -> Generator[Progress | None]:
    """The display of the moment, or a new one, or none without a terminal."""
    outer = _shown.get()
    if outer or not sys.stderr.isatty():
        yield outer
        return
    columns = (TextColumn("{task.description}"), BarColumn(), _Count(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # What is printed meanwhile goes above the bars, but only if it would go to the same place anyway.
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bars:
        token = _shown.set(bars)
        try:
            yield bars
        finally:
            _shown.reset(token)


class _Count(ProgressColumn):
    """Steps done of all steps; nothing where their number is not known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")
