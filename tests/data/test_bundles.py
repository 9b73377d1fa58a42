import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recloop.data.bundles import FORMAT, MANIFEST, copy, describe, identify, read_manifest, replacing, verify
from recloop.errors import BundleError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"0123456789")
    (folder / "vocabulary.parquet").write_bytes(b"abc")
    files = describe(folder)
    manifest = {"format": FORMAT, "id": identify(files), "files": files, "libraries": {"recloop": "0.1.0"}}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))


def test_a_whole_bundle_verifies(bundle: Path) -> None:
    manifest = verify(bundle)
    assert manifest["files"]["vocabulary.parquet"] == {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}


def test_the_id_is_the_hash_of_the_sorted_names_and_hashes() -> None:
    files = {"b": {"sha256": "22"}, "a": {"sha256": "11"}}
    assert identify(files) == hashlib.sha256(b"a 11\nb 22\n").hexdigest()[:16]


def test_unlisted_files_are_ignored(bundle: Path) -> None:
    manifest = verify(bundle)
    (bundle / "notes.txt").write_text("not part of it")
    assert verify(bundle) == manifest
    assert copy(bundle, bundle.parent / "copied") == manifest
    assert not (bundle.parent / "copied" / "notes.txt").exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            lambda folder: (folder / "weights.safetensors").write_bytes(b"01234"),
            r"'weights.safetensors' has 5 bytes where",
        ),
        (
            lambda folder: (folder / "weights.safetensors").write_bytes(b"0123456780"),
            "content of 'weights.safetensors'",
        ),
        (lambda folder: (folder / "vocabulary.parquet").unlink(), "lacks its file 'vocabulary.parquet'"),
        (lambda folder: (folder / MANIFEST).unlink(), "holds no 'manifest.json'; run the package stage"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 1,'), "'manifest.json' is not readable JSON"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "'manifest.json' states no format"),
        (lambda folder: rewrite(folder, files={}), "'manifest.json' does not list its files"),
        (lambda folder: rewrite(folder, files={"../x": {"sha256": "", "bytes": 0}}), "does not list its files"),
        (lambda folder: rewrite(folder, id="0" * 16), "the id '0000000000000000' in 'manifest.json' is not that"),
        (shutil.rmtree, "holds no 'manifest.json'"),
    ],
    ids=[
        "truncated",
        "tampered",
        "missing",
        "no-manifest",
        "broken",
        "no-format",
        "no-files",
        "outside",
        "id",
        "no-folder",
    ],
)
def test_a_damaged_bundle_is_refused_by_name(bundle: Path, damage: Callable[[Path], None], sentence: str) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=sentence):
        verify(bundle)


def test_a_newer_format_is_refused_with_the_version_it_needs(bundle: Path) -> None:
    rewrite(bundle, format=7, libraries={"recloop": "3.2.0"})
    with pytest.raises(BundleError, match=r"has format 7, .* reads formats up to 1; use recloop 3\.2\.0 or newer\."):
        verify(bundle)


def test_a_newer_format_without_a_version_is_refused(bundle: Path) -> None:
    rewrite(bundle, format=7, libraries=None)
    with pytest.raises(BundleError, match="has format 7"):
        read_manifest(bundle)


def test_copy_takes_the_listed_files_only(bundle: Path, tmp_path: Path) -> None:
    (bundle / "notes.txt").write_text("not part of it")
    target = tmp_path / "bundles" / "one"
    assert copy(bundle, target) == verify(target)
    assert sorted(path.name for path in target.iterdir()) == [MANIFEST, "vocabulary.parquet", "weights.safetensors"]


def test_copying_a_damaged_bundle_leaves_the_target_alone(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    copy(bundle, target)
    (bundle / "vocabulary.parquet").write_bytes(b"abd")
    with pytest.raises(BundleError):
        copy(bundle, target)
    verify(target)


def test_replacing_puts_the_new_folder_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for content in ("first", "second"):
        with replacing(folder) as scratch:
            (scratch / content).touch()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in folder.iterdir()] == ["second"]


def test_an_error_while_replacing_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with replacing(folder) as scratch:
        (scratch / "first").touch()
    with pytest.raises(RuntimeError), replacing(folder) as scratch:  # noqa: PT012 - the block is what fails
        (scratch / "second").touch()
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in folder.iterdir()] == ["first"]


def test_a_kill_between_two_renames_is_repaired_by_the_next_attempt(tmp_path: Path) -> None:
    folder, scratch = tmp_path / "a", tmp_path / ".a.swap"
    (scratch / "old").mkdir(parents=True)
    (scratch / "old" / "first").touch()
    with pytest.raises(RuntimeError), replacing(folder):
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["first"]
