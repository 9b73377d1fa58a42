"""From a source to a new version of the data: read, write, swap in, version with DVC, push.

`data/` changes in one step and only if its content does; a kill at any moment leaves a whole version, and the next
ingestion tidies up. The folder ``.recloop/`` in the project's root holds the lock and the version being written.
"""

import contextlib
import fcntl
import filecmp
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from recloop import processes, sources
from recloop.config import Config, parse, section
from recloop.data import swap
from recloop.data.tables import write_parquet
from recloop.errors import ConfigError, DataError
from recloop.progress import track
from recloop.sources import Batch, SourceContext, is_appended

DATA = "data"
POINTER = "data.dvc"
SCRATCH = ".recloop/ingest"

_NOTHING = {"interactions": 0}

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


class IngestConfig(Config):
    """Where data come from.

    Attributes:
        source: full name of a source; its options stand beside it, under the name of the source's module.
    """

    source: str = "movielens-100k"


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What an ingestion did.

    Attributes:
        source: the source's full name.
        changed: whether `data.dvc` names another version than before.
        rows: rows read of each table; no interactions if the source had nothing new.
        version: MD5 of the data folder, as in `data.dvc`.
        pushed: whether the version was sent to DVC's default remote; without one it stays here.
    """

    source: str
    changed: bool
    rows: dict[str, int]
    version: str
    pushed: bool


def ingest(
    params: Mapping[str, Any], root: Path, source: str | None = None, progress: Progress = track
) -> IngestReport:
    """Read a source into ``data/`` and version the result.

    Args:
        params: the parsed `params.yaml`; its section ``ingest`` counts.
        root: the project's root, a Git and DVC repository.
        source: name of the source, instead of ``ingest.source``.
        progress: shows how far long steps are.

    Raises:
        ConfigError: an option is unknown or wrong, or `root` is not set up for DVC.
        SourceError: the source is unknown, unreachable or damaged.
        DataError: a table breaks a rule, another ingestion is running, or DVC fails.
    """
    name, found, options = _configure(params, source)
    root = root.absolute()
    if not (root / ".dvc").is_dir():
        raise ConfigError(
            f"{root} is not a DVC project, so its data cannot be versioned; run 'git init' and 'dvc init' there first."
        )
    with _alone(root) as lock:
        swap.recover(root / DATA, root / SCRATCH)
        before = _version(root)
        _require_appended(root, lock)
        cache = sources.cache_folder()
        context = SourceContext(root=root, data=root / DATA, cache=cache, variant=found.variant, progress=progress)
        batch = found.source.read(options, context)
        if batch is None and not (root / DATA).exists():
            raise DataError(f"The source {name} has nothing new, and there are no data yet; ingest another one first.")
        rows = {table: frame.height for table, frame in batch.tables.present().items()} if batch else _NOTHING
        if batch is not None and batch.mode == "append":
            rows = rows | _append(batch, root)
            written = True
        else:
            written = batch is not None and _write(batch, root, progress)
        if written or not _is_versioned(root, lock):
            _dvc(root, lock, "add", DATA)
        pushed = _push(root, lock, progress)
    version = _version(root)
    return IngestReport(source=name, changed=version != before, rows=rows, version=version, pushed=pushed)


def recover(root: Path) -> None:
    """Tidy up after an ingestion that was killed; `ingest` begins with this.

    Raises:
        DataError: an ingestion is running.
    """
    if (root / SCRATCH).is_dir():
        with _alone(root):
            swap.recover(root / DATA, root / SCRATCH)


def _configure(params: Mapping[str, Any], source: str | None) -> tuple[str, sources.Found, Config]:
    values = section(params, "ingest")
    unknown = sorted(values.keys() - {"source", *sources.modules()})
    if unknown:
        known = ", ".join(sorted({"source", *sources.modules()}))
        raise ConfigError(f"params.yaml: ingest.{unknown[0]} is not a known parameter; known ones are: {known}.")
    chosen = {"source": values["source"]} if "source" in values else {}
    name = source or parse(IngestConfig, chosen, "params.yaml: ingest").source
    found = sources.find(name)
    options = parse(found.source.Config, values.get(found.key), f"params.yaml: ingest.{found.key}")
    return name, found, options


@contextlib.contextmanager
def _alone(root: Path) -> Generator[IO[bytes]]:
    """Hold the project's ingestion lock; it ends with the process, or with the DVC that a killed one left behind."""
    folder = root / SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"Another ingestion is running in {root}, and only one may run at a time; wait until it has ended."
            ) from None
        yield lock


def _require_appended(root: Path, lock: IO[bytes]) -> None:
    """Refuse to go on without data whose version holds appended batches: they would be missing from the next one.

    What the version holds is asked of DVC, which may not know it either: in a fresh clone without a remote.
    """
    if (root / DATA).exists() or not (root / POINTER).exists():
        return
    listed = _dvc(root, lock, "list", "--recursive", "--json", ".", DATA, check=False)
    names = [entry["path"] for entry in json.loads(listed.stdout)] if listed.returncode == 0 else []
    if appended := sorted(name for name in names if is_appended(Path(name))):
        raise DataError(
            f"{root / DATA} is missing, and its version in {POINTER} holds {appended[-1]}, which a new version would "
            f"lose; run 'dvc checkout' or 'dvc pull' first, or delete {POINTER} to begin anew."
        )


def _write(batch: Batch, root: Path, progress: Progress) -> bool:
    """Replace ``data/`` by a batch; False if exactly these bytes were there already."""
    data, scratch = root / DATA, root / SCRATCH
    new = swap.stage(scratch)
    for table, frame in progress(batch.tables.present().items(), "writing tables"):
        write_parquet(frame, new / _file(table, batch))
    for path in filter(is_appended, data.rglob("*.parquet")):
        _link(path, new / path.relative_to(data))
    if _equal(data, new):
        swap.recover(data, scratch)
        return False
    swap.replace(data, scratch)
    return True


def _append(batch: Batch, root: Path) -> dict[str, int]:
    """Add a batch's files to ``data/``; how many impressions they hold, if any.

    The file of interactions comes last: a kill before it leaves whole files of impressions, and the next ingestion
    goes on from there.
    """
    data = root / DATA
    if not data.exists() and (root / POINTER).exists():
        raise DataError(
            f"{data} is missing, so nothing can be appended to it; run 'dvc pull' or 'recloop ingest' first."
        )
    assert batch.tables.present().keys() == {"interactions"}, "an appended batch holds interactions only"
    new, rows = swap.stage(root / SCRATCH), 0
    files: list[Path] = []
    for name, frame in batch.impressions:
        files.append(Path("impressions", f"{name}.parquet"))
        write_parquet(frame, new / files[-1])
        rows += frame.height
    files.append(_file("interactions", batch))
    write_parquet(batch.tables.interactions, new / files[-1])
    for file in files:
        assert is_appended(file), f"'{file.stem}' is not the name of an appended batch"
        assert not (data / file).exists(), "batches are immutable"
        swap.adopt(new / file, data / file)
    return {"impressions": rows} if rows else {}


def _file(table: str, batch: Batch) -> Path:
    return Path("interactions", f"{batch.name}.parquet") if table == "interactions" else Path(f"{table}.parquet")


def _link(path: Path, target: Path) -> None:
    """Give an immutable file a second name, or copy it where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copy2(path, target)


def _equal(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    names = [{path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in (one, other)]
    return names[0] == names[1] and all(filecmp.cmp(one / name, other / name, shallow=False) for name in names[0])


def _version(root: Path) -> str:
    """The MD5 in `data.dvc`; empty if there is none."""
    pointer = root / POINTER
    if not pointer.exists():
        return ""
    try:
        return yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["md5"]
    except (yaml.YAMLError, LookupError, TypeError):
        raise DataError(f"{pointer} is not a file of DVC; restore it with 'git checkout {POINTER}'.") from None


def _is_versioned(root: Path, lock: IO[bytes]) -> bool:
    """Whether `data.dvc` names exactly what lies in ``data/``, and DVC's cache holds it."""
    if not (root / POINTER).exists():
        return False
    return json.loads(_dvc(root, lock, "status", "--json", POINTER).stdout) == {}


def _push(root: Path, lock: IO[bytes], progress: Progress) -> bool:
    remote = _dvc(root, lock, "config", "core.remote", check=False).stdout.strip()
    for _ in progress([remote] if remote else [], f"pushing to '{remote}'"):
        _dvc(root, lock, "push", POINTER)
    return bool(remote)


def _dvc(root: Path, lock: IO[bytes], *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run DVC, which ends with this process at the latest and holds the lock as long.

    ``dvc add`` alone is not ended by anything that ends this process, Ctrl-C included: with links to its cache it
    removes a file of `data/` before it puts a link there. Its own output goes to a file, for a pipe would break.
    """
    command = [sys.executable, "-m", "dvc", *words]
    env = processes.environment() | {"DVC_NO_ANALYTICS": "true"}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, contextlib.ExitStack() as stack:
        if words[0] == "add":
            process = subprocess.Popen(  # noqa: S603 - fixed words
                command,
                cwd=root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )
        else:
            process = stack.enter_context(
                processes.running(command, folder=root, env=env, output=output, errors=errors, keep=[lock.fileno()])
            )
        status = process.wait()
        said = [_text(file) for file in (output, errors)]
    done = subprocess.CompletedProcess(command, status, *said)
    if check and done.returncode:
        raise DataError(f"'dvc {' '.join(words)}' fails in {root} ({_reason(done)}); correct that and ingest again.")
    return done


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """What DVC says of its failure, on one line and without its invitation to its forum."""
    words = done.stderr.partition("Having any troubles?")[0]
    _, found, error = words.partition("ERROR: ")
    return " ".join((error if found else words).split()) or f"status {done.returncode}"
