"""One whole turn of the loop for a person at a terminal: data in, stages run, winner promoted and served.

Stages are run by the `dvc` command and the service by the `bentoml` command, each in a process of its own: this module
orders them and shows what they left in `artifacts/`.
"""

import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import polars as pl
from rich.console import Console
from rich.table import Table

from recloop import processes
from recloop.columns import ITEM, TITLE, USER
from recloop.config import load_params
from recloop.data.tables import read_json, read_parquet
from recloop.errors import RecloopError
from recloop.ingestion import ingest, recover
from recloop.loop.deployments import carry_out, in_charge
from recloop.progress import track
from recloop.store import Store

START_SECONDS = 120.0
SHOWN_REASONS = 6
SHOWN = ("ndcg", "recall", "mrr", "auc", "coverage", "novelty")
REPORTS = {
    "validation": "artifacts/validation/data_docs/index.html",
    "leaderboard": "artifacts/gate/leaderboard.csv",
    "decision": "artifacts/gate/decision.json",
    "drift": "artifacts/drift/drift.html",
    "bundle": "artifacts/bundle/manifest.json",
}


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service: its address and its process."""

    url: str
    process: subprocess.Popen[bytes]


def reproduce(root: Path, stages: Sequence[str] = (), *, force: bool = False) -> None:
    """Run `dvc repro` in `root`.

    Raises:
        RecloopError: a stage failed; the message is the stage's own sentence where it left one.
    """
    recover(root)
    command = [sys.executable, "-m", "dvc", "repro", *(["--force"] if force else []), *stages]
    with tempfile.TemporaryDirectory() as scratch:
        sentence = Path(scratch) / "error"
        env = processes.environment() | {"RECLOOP_ERROR_FILE": str(sentence)}
        with processes.running(command, folder=root, env=env) as process:
            status = process.wait()
        if status == 0:
            return
        if sentence.is_file():
            raise RecloopError(sentence.read_text(encoding="utf-8"))
    raise RecloopError(f"'dvc repro' ended with status {status}; its own message above says why.")


@contextmanager
def service(root: Path, port: int = 0, *, quiet: bool = True) -> Generator[Service]:
    """Serve what the store says, or the bundle that `RECLOOP_BUNDLE` names, until the block ends.

    Args:
        root: the project's folder.
        port: on 127.0.0.1; 0 picks a free one.
        quiet: keep the server's log out of the terminal; the log is shown if the server does not start.

    Raises:
        RecloopError: the port is taken, or the service is not ready within two minutes.
    """
    port = processes.free_port(port)
    command = [sys.executable, "-m", "bentoml", "serve", ".", "--host", processes.LOCALHOST, "--port", str(port)]
    with tempfile.TemporaryDirectory() as scratch:
        # Servers that share BENTOML_HOME delete each other's metrics.
        env = {"BENTOML_HOME": scratch, "RECLOOP_ROOT": str(root.absolute())} | processes.environment()
        log = Path(scratch) / "log"
        with (
            log.open("wb") as output,
            processes.running(command, folder=root, env=env, output=output if quiet else None) as process,
        ):
            running = Service(url=f"http://{processes.LOCALHOST}:{port}", process=process)
            if not processes.answers(f"{running.url}/readyz", process, START_SECONDS):
                raise RecloopError(f"The service did not become ready; its last words: {processes.last_lines(log, 5)}.")
            yield running


def serve_until_interrupted(root: Path, port: int) -> None:
    """Run the service in the foreground."""
    _require_bundle(root)
    with service(root, port, quiet=False) as running:
        Console().print(f"Serving on {running.url}; Ctrl-C stops it.")
        running.process.wait()


def turn(root: Path, *, port: int = 0) -> None:
    """Ingest, run every stage, promote a winner, serve it, fetch one recommendation, and show all of it."""
    console = Console()
    report = ingest(load_params(root / "params.yaml"), root, source=None, progress=track)
    rows = ", ".join(f"{count:,} {name}" for name, count in report.rows.items())
    console.print(f"[bold]Data[/]  {report.source}: {rows}; version {report.version}")
    reproduce(root)
    _show_leaderboard(console, root)
    decision = read_json(root / "artifacts/gate/decision.json")
    _show_decision(console, decision)
    with Store.open(root=root) as store:
        deployed = carry_out(root, store, decision)
    console.print(f"[bold]Deployment[/]  {deployed}", highlight=False)
    with service(root, port) as running:
        _show_recommendation(console, root, running.url)
    console.print("[bold]Reports[/]")
    for name, path in REPORTS.items():
        console.print(f"  {name:<12} {path}", highlight=False)
    console.print("[bold]Next[/]  'make serve' keeps the service running, 'make ui' opens the flows in Prefect.")


def _show_leaderboard(console: Console, root: Path) -> None:
    board = pl.read_csv(root / "artifacts/gate/leaderboard.csv")
    shown = [name for family in SHOWN for name in board.columns if name.partition("@")[0] == family]
    table = Table(title="Leaderboard (test window, every item ranked)", title_justify="left")
    table.add_column("model")
    for name in shown:
        table.add_column(name, justify="right")
    for row in board.iter_rows(named=True):
        table.add_row(row["model"], *("" if row[name] is None else f"{row[name]:.4f}" for name in shown))
    console.print(table)


def _show_decision(console: Console, decision: dict[str, Any]) -> None:
    console.print(f"[bold]Decision[/]  {decision['verdict']}: {decision['winner'] or 'the champion stays'}")
    for reason in decision["reasons"][:SHOWN_REASONS]:
        console.print(f"  - {reason}", highlight=False)
    if len(decision["reasons"]) > SHOWN_REASONS:
        console.print(f"  - and {len(decision['reasons']) - SHOWN_REASONS} more in {REPORTS['decision']}")


def _show_recommendation(console: Console, root: Path, url: str) -> None:
    """Ask for the person with the most recent event, as a stranger would with curl."""
    interactions = read_parquet(root / "artifacts/clean/interactions.parquet")
    user = interactions[USER][-1]
    answer = httpx.post(f"{url}/recommend", json={"user_id": user, "k": 5}, timeout=30).raise_for_status().json()
    console.print(f'[bold]Recommendation[/]  POST {url}/recommend {{"user_id": "{user}", "k": 5}}', highlight=False)
    titles = _titles(root)
    for item in answer["items"]:
        console.print(f"  {item['score']:8.4f}  {titles.get(item[ITEM], item[ITEM])}", highlight=False)


def _titles(root: Path) -> dict[str, str]:
    path = root / "artifacts/clean/items.parquet"
    if not path.is_file():
        return {}
    items = read_parquet(path)
    return dict(items.select(ITEM, TITLE).iter_rows()) if TITLE in items.columns else {}


def _require_bundle(root: Path) -> None:
    if not (in_charge(root) / "manifest.json").is_file():
        raise RecloopError("artifacts/bundle holds no packaged model; run 'make loop' or 'dvc repro' first.")
