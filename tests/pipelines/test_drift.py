import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from pipelines import drift
from recloop.data.bundles import describe, identify, verify
from recloop.data.sequences import Contexts
from recloop.data.tables import canonical_interactions, read_json, write_json, write_parquet
from recloop.data.vocabulary import Vocabulary
from recloop.errors import BundleError, ConfigError
from recloop.models import find
from recloop.models.base import FitContext, TrainingData
from recloop.models.storage import Trained, save
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config, World


def window(frame: pl.DataFrame) -> list[str]:
    return (
        frame.select(first=pl.col("timestamp").min(), last=pl.col("timestamp").max())
        .select(pl.all().dt.to_string("iso:strict"))
        .row(0)
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pl.DataFrame]:
    """A project up to the package stage, in the working directory; called, it returns the training part."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(drift, "write", lambda found, html, results: html.write_text(found.verdict))

    def make(
        params: str = "drift: {}",
        folder: str = "artifacts/bundle",
        learnt: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
        *,
        packaged_late: bool = False,
        **options: object,
    ) -> pl.DataFrame:
        context = SourceContext(root=tmp_path, data=tmp_path, cache=tmp_path, progress=lambda steps, description: steps)
        frame = canonical_interactions(World(Config(**options)).interactions(context), "synthetic")  # type: ignore[arg-type]
        train = frame.filter(pl.col("timestamp") < frame["timestamp"].sort()[int(frame.height * 0.8)])
        items = Vocabulary(train["item_id"])
        kind = find("popularity")
        model = kind(kind.Config(), len(items))
        histories = Contexts.from_frame(train, Vocabulary(train["user_id"]), items)
        model.fit(TrainingData(histories=histories, n_items=len(items)), FitContext(device=torch.device("cpu")))
        save(Trained(model=model, vocabulary=items), Path(folder))
        known = train if learnt is None else learnt(train)
        data = {"train_window": window(known), "window": window(frame if packaged_late else known)}
        files = describe(Path(folder))
        manifest = {"format": 1, "id": identify(files), "files": files, "data": data}
        write_json(manifest, Path(folder) / "manifest.json")
        write_parquet(frame, Path("artifacts/clean/interactions.parquet"))
        Path("params.yaml").write_text(params)
        return train

    return make


def older_half(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("timestamp") < frame["timestamp"].sort()[frame.height // 2])


def test_without_a_champion_the_packaged_model_counts(
    project: Callable[..., pl.DataFrame], capsys: pytest.CaptureFixture[str]
):
    train = project(drift_at=0.8)
    drift.main()
    record = read_json(Path("artifacts/drift/drift.json"))
    assert record["verdict"] == Path("artifacts/drift/drift.html").read_text() == "drift"
    assert [record["reference"]["from"], record["reference"]["to"]] == list(window(train))
    assert record["bundle"] == verify("artifacts/bundle")["id"]
    assert {"model_scores", "item_popularity"} <= {check["name"] for check in record["checks"]}
    printed = capsys.readouterr().out
    assert printed.startswith(f"drift: drift ({train.height:,} events of training against")
    assert "item_popularity" in printed


def test_the_champions_window_counts_if_there_is_one(project: Callable[..., pl.DataFrame]):
    project()
    train = project(folder="artifacts/bundles/abcd", learnt=older_half)
    older = older_half(train)
    write_json({"bundle": "abcd"}, Path("artifacts/champion/champion.json"))
    drift.main()
    record = read_json(Path("artifacts/drift/drift.json"))
    assert record["bundle"] == verify("artifacts/bundles/abcd")["id"]
    assert record["reference"]["rows"] == older.height
    assert record["current"]["rows"] == pl.read_parquet("artifacts/clean/interactions.parquet").height - older.height


def test_the_newest_window_may_be_limited(project: Callable[..., pl.DataFrame]):
    project("drift: {window_days: 5}")
    drift.main()
    record = read_json(Path("artifacts/drift/drift.json"))
    newest = pl.read_parquet("artifacts/clean/interactions.parquet")["timestamp"].max()
    assert record["current"]["to"] == f"{newest:%Y-%m-%dT%H:%M:%S.%f}+00:00"
    assert record["current"]["rows"] < record["reference"]["rows"] / 10


def test_next_items_are_asked_for_but_not_those_that_slates_showed(project: Callable[..., pl.DataFrame]):
    train = project()
    drift.main()
    frame = pl.read_parquet("artifacts/clean/interactions.parquet")
    first = check("ranking_quality")
    assert first
    assert (first["column"], first["statistic"], first["drifted"]) == ("ndcg@10", "loss", False)
    later = frame.filter(pl.col("timestamp") > train["timestamp"].max())
    assert 0 < first["n_current"] < later.height
    baseline = check("popularity_baseline")
    assert baseline
    assert baseline["value"] == 0
    write_parquet(later.tail(100).select("user_id", "item_id", "timestamp", "event"), drift.PROMPTED)
    drift.main()
    fewer = check("ranking_quality")
    assert fewer
    assert first["n_current"] - 100 <= fewer["n_current"] < first["n_current"]


def test_where_slates_were_shown_what_came_before_the_champion_does_not_count(project: Callable[..., pl.DataFrame]):
    project(packaged_late=True)
    drift.main()
    assert check("ranking_quality")
    frame = pl.read_parquet("artifacts/clean/interactions.parquet").sort("timestamp")
    write_parquet(frame.tail(100).select("user_id", "item_id", "timestamp", "event"), drift.PROMPTED)
    drift.main()
    assert check("ranking_quality") is None, "it was packaged with the newest event, so nothing came after"
    assert check("slates")


def check(name: str) -> dict[str, Any] | None:
    record = read_json(Path("artifacts/drift/drift.json"))
    return next((check for check in record["checks"] if check["name"] == name), None)


def test_equal_input_gives_equal_bytes(project: Callable[..., pl.DataFrame]):
    project()
    drift.main()
    first = Path("artifacts/drift/drift.json").read_bytes()
    drift.main()
    assert Path("artifacts/drift/drift.json").read_bytes() == first
    assert json.loads(first)["checks"]


def test_what_is_missing_or_wrong_is_named(project: Callable[..., pl.DataFrame]):
    project("drift: {tolerance: much}")
    with pytest.raises(ConfigError, match=r"params\.yaml: drift\.tolerance is 'much', but input should be"):
        drift.main()
    Path("params.yaml").write_text("drift: {}")
    Path("artifacts/bundle/weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"lacks its file 'weights\.safetensors'; package or copy the bundle again"):
        drift.main()
    Path("artifacts/bundle/manifest.json").unlink()
    with pytest.raises(BundleError, match=r"artifacts/bundle holds no 'manifest\.json'; run the package stage"):
        drift.main()
    assert not Path("artifacts/drift").exists()
