import hashlib
from pathlib import Path

import pytest

from recloop.errors import SourceError
from recloop.progress import track
from recloop.sources.download import PIECE, fetch
from tests.sources.conftest import Web

BODY = bytes(range(256)) * 12_345
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def url(web: Web) -> str:
    web.files["/big.zip"] = BODY
    return f"{web.address}/big.zip"


def test_a_file_arrives_whole_and_is_fetched_once(web: Web, url: str, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "big.zip"
    assert fetch(url, target, md5=MD5, progress=track) == target
    fetch(url, target, md5=MD5, progress=track)
    assert target.read_bytes() == BODY
    assert web.asked == [("/big.zip", None)]
    assert not target.with_name("big.zip.part").exists()


def test_a_damaged_file_in_the_cache_is_fetched_again(url: str, tmp_path: Path) -> None:
    target = tmp_path / "big.zip"
    target.write_bytes(BODY[:99])
    assert fetch(url, target, md5=MD5, progress=track).read_bytes() == BODY


def test_a_cut_connection_is_taken_up_at_once(web: Web, url: str, tmp_path: Path) -> None:
    web.cuts = [PIECE + 7, PIECE]
    assert fetch(url, tmp_path / "big.zip", md5=MD5, progress=track).read_bytes() == BODY
    assert [wanted for _, wanted in web.asked] == [None, f"bytes={PIECE}-", f"bytes={2 * PIECE}-"]


def test_the_next_call_goes_on_where_the_last_one_gave_up(web: Web, url: str, tmp_path: Path) -> None:
    target = tmp_path / "big.zip"
    web.cuts = [PIECE, 0, 0]
    with pytest.raises(
        SourceError, match=r"big\.zip cannot be downloaded \(.*\); check the address and the connection"
    ):
        fetch(url, target, md5=MD5, progress=track)
    assert not target.exists()
    assert target.with_name("big.zip.part").read_bytes() == BODY[:PIECE]
    web.asked.clear()
    assert fetch(url, target, md5=MD5, progress=track).read_bytes() == BODY
    assert web.asked == [("/big.zip", f"bytes={PIECE}-")]


def test_a_server_without_ranges_starts_again(web: Web, url: str, tmp_path: Path) -> None:
    web.ranges = False
    web.cuts = [PIECE]
    assert fetch(url, tmp_path / "big.zip", md5=MD5, progress=track).read_bytes() == BODY


def test_a_part_that_is_already_whole_is_only_checked(web: Web, url: str, tmp_path: Path) -> None:
    (tmp_path / "big.zip.part").write_bytes(BODY)
    assert fetch(url, tmp_path / "big.zip", md5=MD5, progress=track).read_bytes() == BODY
    assert web.asked == [("/big.zip", f"bytes={len(BODY)}-")]


def test_a_wrong_checksum_deletes_the_download_and_says_so(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(url, tmp_path / "big.zip", md5="0" * 32, progress=track)
    assert str(caught.value) == (
        f"{url} has the MD5 checksum {MD5}, not {'0' * 32}; the download was deleted, run again or correct the address."
    )
    assert {path.name for path in tmp_path.iterdir()} == {"big.zip.lock"}


def test_a_missing_file_is_named(web: Web, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(f"{web.address}/none.zip", tmp_path / "none.zip", md5=MD5, progress=track)
    assert str(caught.value) == f"{web.address}/none.zip answers with status 404; correct the address."


def test_an_unreachable_server_and_a_wrong_address_are_named(tmp_path: Path) -> None:
    for address in ("http://127.0.0.1:1/a.zip", "nowhere/a.zip"):
        with pytest.raises(SourceError, match=rf"^{address} cannot be downloaded \("):
            fetch(address, tmp_path / "a.zip", md5=MD5, progress=track)


def test_a_busy_server_is_asked_again(web: Web, url: str, tmp_path: Path) -> None:
    web.busy = 2
    assert fetch(url, tmp_path / "big.zip", md5=MD5, progress=track).read_bytes() == BODY
    web.busy = 3
    with pytest.raises(SourceError, match=r"big\.zip cannot be downloaded \(status 503\); check .* then run again"):
        fetch(url, tmp_path / "again" / "big.zip", md5=MD5, progress=track)
