"""Measure what the README states: `make bench`. Each figure is one function; the last line is the machine.

Works on a copy of the checkout in a temporary folder, with this interpreter's packages.
"""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[1]
MIB = 1 << 20


def run(*command: str, cwd: Path) -> tuple[float, float]:
    """Seconds and peak resident MiB of a command with all its children, summed."""
    programs = str(Path(sys.executable).parent)
    env = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "DO_NOT_TRACK": "1"}
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    errors = process.communicate()[1]
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors.decode()[-2000:]}")
    return seconds, peak[0]


def _watch(pid: int, peak: list[float]) -> None:
    """Sum of the tree's resident memory every 0.2 s; shared pages count once for each process that maps them."""
    try:
        parent = psutil.Process(pid)
        while parent.is_running():
            total = 0
            for process in [parent, *parent.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total / MIB)
            time.sleep(0.2)
    except psutil.NoSuchProcess:
        return


def copy_project(target: Path) -> None:
    """The files of the checkout, committed to a new repository."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "-qm", "start"],
    ):
        subprocess.check_call(command, cwd=target)


def whole_loop(project: Path) -> str:
    """`recloop loop` from nothing, the packages installed and the data set in the download cache."""
    seconds, peak = run(sys.executable, "-m", "recloop.cli", "loop", cwd=project)
    return f"{seconds:.0f} s, {peak:,.0f} MiB"


def second_loop(project: Path) -> str:
    """`recloop loop` when nothing has changed: only the service is started again."""
    return f"{run(sys.executable, '-m', 'recloop.cli', 'loop', cwd=project)[0]:.1f} s"


def idle_repro(project: Path) -> str:
    """`dvc repro` with nothing to do; median of five."""
    times = sorted(run(sys.executable, "-m", "dvc", "repro", cwd=project)[0] for _ in range(5))
    return f"{times[2]:.1f} s"


def flow_overhead(project: Path) -> str:
    """Every stage from nothing: a run of `train` started from the server of `make ui`, against `dvc repro`."""
    run(sys.executable, "-m", "recloop.cli", "ingest", cwd=project)
    _forget(project)
    plain = run(sys.executable, "-m", "dvc", "repro", cwd=project)[0]
    _forget(project)
    with _server(project) as api:
        flows = {one["id"]: one["name"] for one in api.post("/flows/filter", json={}).json()}
        deployments = api.post("/deployments/filter", json={}).json()
        deployment = next(one for one in deployments if flows[one["flow_id"]] == "train")
        started = time.perf_counter()
        flow_run = api.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).json()
        while flow_run["state"]["type"] not in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            time.sleep(0.2)
            flow_run = api.get(f"/flow_runs/{flow_run['id']}").json()
        waited = time.perf_counter() - started
    if flow_run["state"]["type"] != "COMPLETED":
        sys.exit(f"the flow ended as {flow_run['state']}")
    ran = flow_run["total_run_time"]
    return f"{ran:.0f} s against {plain:.0f} s: {ran / plain - 1:+.0%} ({waited:.0f} s from the click)"


@contextmanager
def _server(project: Path) -> Generator[httpx.Client]:
    """`make ui` on a free port, until the flows are registered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows.serve", "--with-server", "--port", str(port)]
    programs = str(Path(sys.executable).parent)
    env = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "DO_NOT_TRACK": "1"}
    process = subprocess.Popen(command, cwd=project, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api", timeout=30) as api:
            for _ in range(600):
                try:
                    if len(api.post("/deployments/filter", json={}).json()) >= 5:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.2)
            time.sleep(10)  # the runner has come to rest
            yield api
    finally:
        process.terminate()
        process.wait(60)


def _forget(project: Path) -> None:
    """Remove what stages left, also from DVC's cache of runs."""
    shutil.rmtree(project / "artifacts", ignore_errors=True)
    shutil.rmtree(project / ".dvc" / "cache" / "runs", ignore_errors=True)
    (project / "dvc.lock").unlink(missing_ok=True)


def import_time(project: Path) -> str:
    """`import recloop` in a new interpreter, less an interpreter that does nothing; median of five."""

    def median(code: str) -> float:
        return sorted(run(sys.executable, "-c", code, cwd=project)[0] for _ in range(5))[2]

    return f"{max(0.0, median('import recloop') - median('pass')):.3f} s"


def help_time(project: Path) -> str:
    """`recloop --help`; median of five."""
    times = sorted(run(sys.executable, "-m", "recloop.cli", "--help", cwd=project)[0] for _ in range(5))
    return f"{times[2]:.2f} s"


FIGURES: tuple[Callable[[Path], str], ...] = (
    import_time,
    help_time,
    whole_loop,
    second_loop,
    idle_repro,
    flow_overhead,
)


def main() -> None:
    """Print each figure under its definition."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "recloop"
        project.mkdir()
        copy_project(project)
        for figure in [one for one in FIGURES if not sys.argv[1:] or one.__name__ in sys.argv[1:]]:
            print(f"{figure.__name__:<14} {figure(project):<28} {(figure.__doc__ or '').splitlines()[0]}", flush=True)
    memory = psutil.virtual_memory().total / (1 << 30)
    version = sys.version.split()[0]
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {version}")


if __name__ == "__main__":
    main()
