import hashlib
import io
import os
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from recloop.errors import SourceError
from recloop.sources import SourceContext, cache_folder, movielens
from tests.sources.conftest import Web

DOUBLE_COLONS = {
    "ml-1m/ratings.dat": b"1::20::5::978300760\n2::10::3::978298413\n1::10::4::978300000\n",
    "ml-1m/movies.dat": "10::Star Trek: First (1994)::Action|Sci-Fi\n20::Am\xe9lie (2001)::Comedy\n".encode("latin-1"),
    "ml-1m/users.dat": b"1::F::1::10::48067\n2::M::56::16::70072\n",
}
COMMAS = {
    "ml-25m/ratings.csv": b"userId,movieId,rating,timestamp\n1,20,3.5,1147880044\n2,10,0.5,1147868817\n",
    "ml-25m/movies.csv": (
        "movieId,title,genres\n10,Toy Story (1995),Animation|Comedy\n"
        '20,"City of Lost Children, The (Cité) (1995)",Drama\n30,Untitled,(no genres listed)\n'
    ).encode(),
}
PARTS = {
    "inter": "user_id:token item_id:token rating:float timestamp:float|196 242 3 881250949",
    "item": "item_id:token movie_title:token_seq year:token class:token_seq|242 Kolya 1996 Comedy|5 Copycat V A~B",
    "user": "user_id:token age:token gender:token occupation:token zip_code:token|196 49 M writer 05105",
    "kg": "head_id:token relation_id:token tail_id:token|m.1 director m.2|m.9 actor m.1",
    "link": "item_id:token entity_id:token|242 m.1",
}
WHEEL = {
    f"{movielens.WHEEL_FOLDER}.{suffix}": text.translate({32: "\t", 124: "\n", 126: " "}).encode()
    for suffix, text in PARTS.items()
}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def served(web: Web, name: str, members: dict[str, bytes]) -> movielens.Config:
    web.files[f"/movielens/{name}"] = zipped(members)
    md5 = hashlib.md5(web.files[f"/movielens/{name}"]).hexdigest()
    return movielens.Config(address=f"{web.address}/movielens/", md5=md5)


def test_the_form_with_double_colons(web: Web, context: SourceContext) -> None:
    config = served(web, "ml-1m.zip", DOUBLE_COLONS)
    web.cuts = [200]
    batch = movielens.read(config, replace(context, variant="1m"))
    assert batch.name == "movielens-1m"
    assert batch.tables.interactions.rows() == [
        ("2", "10", datetime(2000, 12, 31, 21, 33, 33, tzinfo=UTC), "rating", 3.0),
        ("1", "10", datetime(2000, 12, 31, 22, 0, tzinfo=UTC), "rating", 4.0),
        ("1", "20", datetime(2000, 12, 31, 22, 12, 40, tzinfo=UTC), "rating", 5.0),
    ]
    assert batch.tables.items is not None
    assert batch.tables.items.rows() == [
        ("10", "Star Trek: First", 1994, ["Action", "Sci-Fi"]),
        ("20", "Amélie", 2001, ["Comedy"]),
    ]
    assert batch.tables.users is not None
    assert batch.tables.users.rows() == [("1", "F", 1, "10", "48067"), ("2", "M", 56, "16", "70072")]
    assert batch.tables.knowledge is None


def test_the_form_with_commas(web: Web, context: SourceContext) -> None:
    batch = movielens.read(served(web, "ml-25m.zip", COMMAS), replace(context, variant="25m"))
    assert batch.name == "movielens-25m"
    assert batch.tables.interactions.select("user_id", "item_id", "value").rows() == [
        ("2", "10", 0.5),
        ("1", "20", 3.5),
    ]
    assert batch.tables.items is not None
    assert batch.tables.items.rows() == [
        ("10", "Toy Story", 1995, ["Animation", "Comedy"]),
        ("20", "City of Lost Children, The (Cité)", 1995, ["Drama"]),
        ("30", "Untitled", None, []),
    ]
    assert batch.tables.users is None


def test_a_wrong_checksum_is_refused(web: Web, context: SourceContext) -> None:
    address = served(web, "ml-1m.zip", DOUBLE_COLONS).address
    with pytest.raises(
        SourceError, match=f"has the MD5 checksum .*, not {movielens.MD5['1m']}; the download was deleted"
    ):
        movielens.read(movielens.Config(address=address), replace(context, variant="1m"))


def test_a_missing_member_is_named(web: Web, context: SourceContext) -> None:
    config = served(web, "ml-20m.zip", COMMAS)
    with pytest.raises(
        SourceError, match=r"ml-20m\.zip has no file 'ml-20m/movies\.csv'; delete it and ingest again\.$"
    ):
        movielens.read(config, replace(context, variant="20m"))


def test_the_wheel_holds_films_people_and_knowledge(context: SourceContext, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = zipped(WHEEL)
    monkeypatch.setattr(movielens, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    context.cache.mkdir()
    (context.cache / movielens.WHEEL).write_bytes(wheel)
    tables = movielens.read(movielens.Config(), replace(context, variant="100k")).tables
    moment = datetime(1997, 12, 4, 15, 55, 49, tzinfo=UTC)
    assert tables.interactions.rows() == [("196", "242", moment, "rating", 3.0)]
    assert tables.items is not None
    assert tables.items.rows() == [("242", "Kolya", 1996, ["Comedy"]), ("5", "Copycat", None, ["A", "B"])]
    assert tables.users is not None
    assert tables.users.rows() == [("196", 49, "M", "writer", "05105")]
    assert tables.knowledge is not None
    assert tables.knowledge.rows() == [("item:242", "director", "m.2"), ("m.9", "actor", "item:242")]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let pip see one empty folder and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_failed_download_of_the_wheel_says_where_to_put_it(offline: Path, context: SourceContext) -> None:
    with pytest.raises(SourceError) as caught:
        movielens.read(movielens.Config(), replace(context, variant="100k"))
    assert str(caught.value).startswith(
        "recbole==1.2.1, whose wheel holds MovieLens-100K, cannot be downloaded with pip (ERROR: No matching"
    )
    assert str(caught.value).endswith(
        f"); check pip's configuration, or put recbole-1.2.1-py3-none-any.whl into {context.cache}."
    )
    assert list(context.cache.iterdir()) == []


def test_a_wheel_with_a_wrong_checksum_is_refused(offline: Path, context: SourceContext) -> None:
    information = {
        "recbole-1.2.1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
        "recbole-1.2.1.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "recbole-1.2.1.dist-info/RECORD": b"",
    }
    content = zipped(WHEEL | information)
    (offline / movielens.WHEEL).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        movielens.read(movielens.Config(), replace(context, variant="100k"))
    assert str(caught.value) == (
        f"recbole-1.2.1-py3-none-any.whl has the SHA-256 checksum {hashlib.sha256(content).hexdigest()}, not "
        f"{movielens.WHEEL_SHA256}; the download was deleted, check the package index that pip uses."
    )
    assert list(context.cache.iterdir()) == []


@pytest.mark.realdata
def test_movielens_100k_is_complete(context: SourceContext) -> None:
    try:
        tables = movielens.read(movielens.Config(), replace(context, variant="100k", cache=cache_folder())).tables
    except SourceError as error:
        pytest.skip(str(error))
    assert tables.items is not None
    assert tables.users is not None
    assert tables.knowledge is not None
    ratings = tables.interactions
    assert (ratings.height, ratings["user_id"].n_unique(), ratings["item_id"].n_unique()) == (100_000, 943, 1_682)
    assert (tables.items.height, tables.users.height, tables.knowledge.height) == (1_682, 943, 91_631)
    assert all(frame.null_count().sum_horizontal()[0] == 0 for frame in (ratings, tables.users, tables.knowledge))
    films = tables.knowledge.filter(pl.col("head").str.starts_with("item:"))["head"].str.strip_prefix("item:")
    assert films.is_in(tables.items["item_id"].implode()).all()
