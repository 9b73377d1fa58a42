from pathlib import Path

import pytest

from recloop import config, sources
from recloop.errors import SourceError


def test_every_source_keeps_the_contract() -> None:
    for name in sources.names():
        found = sources.find(name)
        assert issubclass(found.source.Config, config.Config)
        assert found.source.Config.model_config["frozen"]
        assert callable(found.source.read)
        assert name == "-".join(part for part in (found.key, found.variant) if part)


def test_the_sources_of_the_first_release_are_there() -> None:
    sizes = {f"movielens-{size}" for size in ("100k", "1m", "20m", "25m", "32m")}
    assert sizes | {"files", "sql", "synthetic", "feedback"} <= set(sources.names())


@pytest.mark.parametrize("name", ["netflix", "movielens", "movielens-2m", "files-1", "download", ""])
def test_an_unknown_name_lists_the_valid_ones(name: str) -> None:
    with pytest.raises(SourceError) as caught:
        sources.find(name)
    assert str(caught.value) == f"There is no source '{name}'; choose from: {', '.join(sources.names())}."


def test_appended_batches_say_how_far_their_source_was_read(tmp_path: Path) -> None:
    folder = tmp_path / "interactions"
    folder.mkdir()
    assert sources.watermark(tmp_path, "feedback") == 0
    for name in (
        sources.appended_name("feedback", 1, 9),
        "feedback-10-120",
        "clicks-1-500",
        "movielens-100k",
        "feedback-x",
    ):
        (folder / f"{name}.parquet").touch()
    assert sources.watermark(tmp_path, "feedback") == 120
    assert sources.watermark(tmp_path, "clicks") == 500
    assert sources.watermark(tmp_path, "orders") == 0
    appended = {path.stem for path in folder.iterdir() if sources.is_appended(path)}
    assert appended == {"feedback-1-9", "feedback-10-120", "clicks-1-500"}


def test_downloads_are_kept_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECLOOP_CACHE", str(tmp_path / "mine"))
    assert sources.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("RECLOOP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sources.cache_folder() == tmp_path / "recloop"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sources.cache_folder() == Path.home() / ".cache" / "recloop"
