"""From a source to a new version of the data: read, write, swap in, version with DVC, push.

`data/` changes in one step and only if its content does; a kill at any moment leaves a whole version, and the next
ingestion tidies up. People whom the store has erased leave the data with every ingestion.
"""

import filecmp
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import StringConstraints

from recloop import people, sources, versions
from recloop.columns import USER
from recloop.config import Config, parse, section
from recloop.data import pseudonyms, swap
from recloop.data.pseudonyms import Pseudonyms
from recloop.data.tables import canonical_attributes, canonical_interactions, write_parquet
from recloop.errors import ConfigError, DataError
from recloop.loop.forget import without_erased
from recloop.progress import track
from recloop.sources import Appended, Batch, SourceContext, is_appended
from recloop.store import Store
from recloop.versions import DATA, POINTER, SCRATCH, Progress

_NOTHING = {"interactions": 0}


class IngestConfig(Config):
    """Where data come from.

    Attributes:
        source: full name of a source; its options stand beside it, under the name of the source's module.
        pseudonyms: the environment variable that holds the key of the pseudonyms that take the place of user ids; ids
            are kept as they are without it.
    """

    source: str = "movielens-100k"
    pseudonyms: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None


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
    params: Mapping[str, Any],
    root: Path,
    source: str | None = None,
    progress: Progress = track,
    *,
    wait: bool = False,
) -> IngestReport:
    """Read a source into ``data/`` and version the result.

    Args:
        params: the parsed `params.yaml`; its section ``ingest`` counts.
        root: the project's root, a Git and DVC repository.
        source: name of the source, instead of ``ingest.source``.
        progress: shows how far long steps are.
        wait: for another ingestion to end, instead of refusing.

    Raises:
        ConfigError: an option is unknown or wrong, or `root` is not set up for DVC.
        SourceError: the source is unknown, unreachable or damaged.
        DataError: a table breaks a rule, another ingestion is running, or DVC fails.
    """
    config, found, options = _configure(params, source)
    name = config.source
    root = root.absolute()
    versions.require_project(root)
    with versions.alone(root, wait=wait) as lock, people.known_store(params, root) as store:
        swap.recover(root / DATA, root / SCRATCH)
        before = versions.version(root)
        _require_appended(root, lock)
        names = _pseudonyms(config, root / DATA)
        cache = sources.cache_folder()
        context = SourceContext(root=root, data=root / DATA, cache=cache, variant=found.variant, progress=progress)
        batch = found.source.read(options, context)
        if batch is None and not (root / DATA).exists():
            raise DataError(f"The source {name} has nothing new, and there are no data yet; ingest another one first.")
        match batch:
            case None:
                rows, written = _NOTHING, False
            case Appended():
                rows, written = _append(batch, root, names), True
            case Batch():
                batch = _without_erased(_with_pseudonyms(batch, names), store)
                rows = {table: frame.height for table, frame in batch.tables.present().items()}
                written = _write(batch, root, names, progress)
        erased = people.erase_from_data(root, store, asked_by=f"the ingestion of {name}")
        if written or erased or not versions.is_versioned(root, lock):
            versions.dvc(root, lock, "add", DATA)
        pushed = versions.push(root, lock, progress)
    version = versions.version(root)
    return IngestReport(source=name, changed=version != before, rows=rows, version=version, pushed=pushed)


def recover(root: Path) -> None:
    """Tidy up after an ingestion that was killed; `ingest` begins with this.

    Raises:
        DataError: an ingestion is running.
    """
    if (root / SCRATCH).is_dir():
        with versions.alone(root):
            swap.recover(root / DATA, root / SCRATCH)


def _configure(params: Mapping[str, Any], source: str | None) -> tuple[IngestConfig, sources.Found, Config]:
    values = section(params, "ingest")
    own = set(IngestConfig.model_fields)
    unknown = sorted(values.keys() - {*own, *sources.modules()})
    if unknown:
        known = ", ".join(sorted({*own, *sources.modules()}))
        raise ConfigError(f"params.yaml: ingest.{unknown[0]} is not a known parameter; known ones are: {known}.")
    chosen = {name: values[name] for name in own & values.keys()} | ({"source": source} if source else {})
    config = parse(IngestConfig, chosen, "params.yaml: ingest")
    found = sources.find(config.source)
    options = parse(found.source.Config, values.get(found.key), f"params.yaml: ingest.{found.key}")
    return config, found, options


def _pseudonyms(config: IngestConfig, data: Path) -> Pseudonyms | None:
    """What takes the place of user ids; refused where the data go by another rule, for one person would become two."""
    known = pseudonyms.recorded(data)
    anew = f"remove {data} and {data}.dvc to begin anew"
    if config.pseudonyms is None:
        if known is not None:
            raise DataError(
                f"The user ids in {data} are pseudonyms by the key in {known['variable']}, and raw ones may not be "
                f"mixed with them; set 'ingest.pseudonyms: {known['variable']}' in params.yaml, or {anew}."
            )
        return None
    names = Pseudonyms.from_environment(config.pseudonyms, None if known is None else known["check"])
    if known is None and any(map(is_appended, data.rglob("*.parquet"))):
        raise DataError(
            f"{data} holds feedback with raw user ids, and pseudonyms may not be mixed with them; remove "
            f"'ingest.pseudonyms' from params.yaml, or {anew}, with an empty store."
        )
    return names


def _with_pseudonyms(batch: Batch, names: Pseudonyms | None) -> Batch:
    if names is None:
        return batch
    tables = batch.tables
    interactions = canonical_interactions(names.in_frame(tables.interactions), "interactions")
    users = None if tables.users is None else canonical_attributes(names.in_frame(tables.users), USER, "users")
    return replace(batch, tables=replace(tables, interactions=interactions, users=users))


def _without_erased(batch: Batch, store: Store | None) -> Batch:
    """What a source holds, without the people who were erased: it does not know of that."""
    if store is None:
        return batch
    erased, tables = store.erased(), batch.tables
    users = None if tables.users is None else without_erased(tables.users, erased)
    return replace(batch, tables=replace(tables, interactions=without_erased(tables.interactions, erased), users=users))


def _require_appended(root: Path, lock: IO[bytes]) -> None:
    """Refuse to go on without data whose version holds appended batches: they would be missing from the next one.

    What the version holds is asked of DVC, which may not know it either: in a fresh clone without a remote.
    """
    if (root / DATA).exists() or not (root / POINTER).exists():
        return
    listed = versions.dvc(root, lock, "list", "--recursive", "--json", ".", DATA, check=False)
    names = [entry["path"] for entry in json.loads(listed.stdout)] if listed.returncode == 0 else []
    if appended := sorted(name for name in names if is_appended(Path(name))):
        raise DataError(
            f"{root / DATA} is missing, and its version in {POINTER} holds {appended[-1]}, which a new version would "
            f"lose; run 'dvc checkout' or 'dvc pull' first, or delete {POINTER} to begin anew."
        )


def _write(batch: Batch, root: Path, names: Pseudonyms | None, progress: Progress) -> bool:
    """Replace ``data/`` by a batch; False if exactly these bytes were there already."""
    data, scratch = root / DATA, root / SCRATCH
    new = swap.stage(scratch)
    for table, frame in progress(batch.tables.present().items(), "writing tables"):
        write_parquet(frame, new / _file(table, batch))
    for path in filter(is_appended, data.rglob("*.parquet")):
        _link(path, new / path.relative_to(data))
    if names is not None:
        pseudonyms.write_record(names, new)
    if _equal(data, new):
        swap.recover(data, scratch)
        return False
    swap.replace(data, scratch)
    return True


def _append(batch: Appended, root: Path, names: Pseudonyms | None) -> dict[str, int]:
    """Add files to ``data/``; how many rows they hold of each table.

    All are written before the first is added, and interactions are added last, in their order: a kill on the way leaves
    whole files, and the next ingestion goes on from there.
    """
    data = root / DATA
    if not data.exists() and (root / POINTER).exists():
        raise DataError(
            f"{data} is missing, so nothing can be appended to it; run 'dvc pull' or 'recloop ingest' first."
        )
    new, rows = swap.stage(root / SCRATCH), dict[str, int]()
    files: list[Path] = []
    for table, parts in (("impressions", batch.impressions), ("interactions", batch.interactions)):
        for name, frame in parts:
            files.append(Path(table, f"{name}.parquet"))
            if names is not None:
                pseudonyms.require_pseudonyms(frame, f"The store's batch {name}")
            write_parquet(frame, new / files[-1])
            rows[table] = rows.get(table, 0) + frame.height
    if names is not None and pseudonyms.recorded(data) is None:
        pseudonyms.write_record(names, data)
    for file in files:
        assert is_appended(file), f"'{file.stem}' is not the name of an appended file"
        assert not (data / file).exists(), "files are immutable"
        swap.adopt(new / file, data / file)
    return rows


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
