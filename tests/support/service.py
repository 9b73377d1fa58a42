"""A running service for tests: the real `bentoml serve`, one worker, on a free port."""

import os
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from recloop import processes

ROOT = Path(__file__).parents[2]
START_SECONDS = 120


@contextmanager
def serve(
    bundle: Path | None,
    store_url: str,
    *,
    target: str = ".",
    folder: Path = ROOT,
    python: str = sys.executable,
    home: Path | None = None,
    wait_for: str = "/readyz",
    root: Path | None = None,
    host: str = "127.0.0.1",
    settings: Mapping[str, str] | None = None,
    log: Path | None = None,
    port: int = 0,
) -> Generator[str]:
    """The base URL of a service that runs until the block ends.

    Args:
        bundle: the bundle's folder; `None` leaves it to the service to find one.
        store_url: of the events' store.
        target: what to serve: `.` for the bentofile of `folder`, or the tag or path of a built Bento.
        folder: the working directory.
        python: the interpreter to serve with.
        home: BentoML's store of Bentos; by default an empty one, so that no other server shares its metrics.
        wait_for: which path must answer 200 before the block begins.
        root: the project whose bundles are served; by default `folder`.
        host: where it listens.
        settings: further variables of its environment.
        log: where it writes its log; by default into a file that goes with the block.
        port: on 127.0.0.1; by default a free one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RECLOOP_", "PYTHON"))}
        env |= {"BENTOML_HOME": str(home or scratch), "BENTOML_DO_NOT_TRACK": "True", "RECLOOP_DATABASE_URL": store_url}
        if bundle is not None:
            env["RECLOOP_BUNDLE"] = str(bundle)
        if root is not None:
            env["RECLOOP_ROOT"] = str(root)
        env |= settings or {}
        port = processes.free_port(port)
        command = [python, "-m", "bentoml", "serve", target, "--host", host, "--port", str(port)]
        log = log or Path(scratch) / "log"
        url = f"http://127.0.0.1:{port}"
        with log.open("wb") as output, processes.running(command, folder=folder, env=env, output=output) as process:
            if not processes.answers(url + wait_for, process, START_SECONDS):
                raise AssertionError(f"{' '.join(command)} did not answer {wait_for}:\n{log.read_text()[-4000:]}")
            yield url
