import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from pipelines import package
from recloop.data.bundles import verify
from recloop.data.pseudonyms import Pseudonyms, write_record
from recloop.data.tables import read_json, write_json, write_parquet
from recloop.errors import BundleError, ConfigError
from recloop.models import storage
from recloop.models.storage import Trained
from recloop.serving.bundle import Bundle
from recloop.serving.recommender import Recommender
from tests.support.bundles import train, world

CLEAN = world()
TRAIN = CLEAN.head(500)
ITEMS = pl.DataFrame({"item_id": ["item-0", "item-1"], "title": ["Zero", "One"]})
Run = Callable[..., dict[str, Any]]


def save(**facts: Any) -> None:
    """The trained model of the project."""
    model, vocabulary = train("ease", TRAIN)
    storage.save(Trained(model=model, vocabulary=vocabulary, seed=7, **facts), package.MODELS / "ease")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the stage in a project where `ease` was trained, with what the gate decided; returns the manifest."""
    monkeypatch.chdir(tmp_path)
    write_parquet(CLEAN, package.CLEAN / "interactions.parquet")
    write_parquet(ITEMS, package.CLEAN / "items.parquet")
    write_parquet(TRAIN, package.TRAIN)
    write_json({"train_window": ["a", "b"]}, package.SPLIT)
    write_json({"success": True, "quarantined": 4, "rows": {}}, package.VALIDATION)
    write_json({"metrics": {"ndcg@10": 0.5}, "ci95": {"ndcg@10": [0.4, 0.6]}}, package.EVALUATION / "ease/metrics.json")
    save()
    Path("data.dvc").write_text("outs:\n- md5: 0123abcd.dir\n  path: data\n")
    Path("params.yaml").write_text(
        "ingest: {sql: {url: 'postgresql://me:secret@host/db'}}\n"
        "gate: {metric: ndcg@10}\n"
        "train: {models: [ease], seed: 7, ease: {regularization: 100}}\n"
        "serve: {mask_seen: false}\n"
    )

    def run(verdict: str, winner: str | None, champion: dict[str, str] | None = None) -> dict[str, Any]:
        write_json(
            {"verdict": verdict, "winner": winner, "champion": champion, "reasons": ["Because.", "And so."]},
            package.DECISION,
        )
        package.main()
        return verify(package.BUNDLE)

    return run


def test_the_winner_is_packaged_with_where_it_comes_from(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = run("promote", "ease")
    assert (manifest["model"], manifest["seed"], manifest["n_users"]) == ("ease", 7, 37)
    times = CLEAN["timestamp"].sort()
    assert manifest["data"] == {
        "feedback": 0,
        "hash": "0123abcd.dir",
        "rows": 700,
        "window": [time.isoformat(timespec="microseconds") for time in (times[0], times[-1])],
        "train_window": ["a", "b"],
        "evaluated_window": ["a", "b"],
    }
    assert manifest["metrics"] == {"ndcg@10": 0.5}
    assert manifest["ci95"] == {"ndcg@10": [0.4, 0.6]}
    assert manifest["validation"] == {"success": True, "quarantined": 4}
    assert manifest["decision"] == {"verdict": "promote", "reasons": ["Because.", "And so."]}
    assert manifest["params"] == {
        "gate": {"metric": "ndcg@10"},
        "serve": {"mask_seen": False},
        "train": {"ease": {"regularization": 100}},
    }
    assert manifest["git_revision"] == "unknown"
    assert "secret" not in (package.BUNDLE / "manifest.json").read_text()
    assert f"bundle {manifest['id']} with ease" in capsys.readouterr().out


def test_what_the_winner_began_with_is_recorded(run: Run) -> None:
    assert run("promote", "ease")["began_with"] is None
    save(began_with="cafe")
    assert run("promote", "ease")["began_with"] == "cafe"
    assert read_json(package.BUNDLE / storage.DESCRIPTION)["began_with"] == "cafe"


def test_what_was_trained_once_more_serves_and_what_was_evaluated_comes_along(run: Run) -> None:
    plain = run("promote", "ease")
    model, vocabulary = train("ease", CLEAN)
    storage.save(Trained(model=model, vocabulary=vocabulary, seed=7), package.REFIT)
    manifest = run("promote", "ease")
    assert manifest["data"]["train_window"] == manifest["data"]["window"]
    assert manifest["data"]["evaluated_window"] == ["a", "b"]
    assert manifest["metrics"] == plain["metrics"]
    served, judged = Bundle.load(package.BUNDLE), storage.evaluated(package.BUNDLE)
    assert torch.equal(served.model.tensors()["weights"], model.tensors()["weights"])
    assert manifest["files"]["evaluated-weights.safetensors"] == plain["files"]["weights.safetensors"]
    assert torch.equal(
        judged.model.tensors()["weights"], storage.read(package.MODELS / "ease").model.tensors()["weights"]
    )
    assert storage.evaluated(package.BUNDLE).vocabulary.ids.to_list() == sorted(set(TRAIN["item_id"]))


def test_the_bundle_serves_whole_histories_with_the_packaged_configuration(run: Run) -> None:
    run("promote", "ease")
    bundle = Bundle.load(package.BUNDLE)
    catalogue = set(TRAIN["item_id"])
    assert bundle.histories.offsets[-1] == CLEAN.filter(pl.col("item_id").is_in(catalogue)).height > TRAIN.height
    assert bundle.items.filter(item_id="item-1")["title"].to_list() == ["One"]
    assert not Recommender(bundle).config.mask_seen


def test_the_same_run_gives_the_same_bundle(run: Run) -> None:
    assert run("promote", "ease") == run("promote", "ease")


def test_a_champion_that_stays_is_packaged_again(run: Run, tmp_path: Path) -> None:
    champion = run("promote", "ease")
    package.BUNDLES.mkdir()
    package.BUNDLE.rename(package.BUNDLES / champion["id"])
    assert run("keep", None, {"bundle": champion["id"], "model": "ease"}) == champion


def test_a_champion_that_is_gone_is_named(run: Run) -> None:
    with pytest.raises(BundleError, match=r"artifacts/bundles/00ff holds no 'manifest\.json'"):
        run("keep", None, {"bundle": "00ff", "model": "ease"})


def test_without_a_champion_the_baseline_is_packaged_even_if_it_was_not_trained(run: Run) -> None:
    manifest = run("keep", "popularity")
    assert (manifest["model"], manifest["metrics"]) == ("popularity", {})
    answer = Recommender(Bundle.load(package.BUNDLE)).recommend(k=1).items[0]
    most = TRAIN["item_id"].value_counts().sort("count", descending=True)
    assert (answer.item_id, answer.score) == most.row(0)


def test_the_commit_is_recorded(run: Run, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "start"], check=True)
    head = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    assert run("promote", "ease")["git_revision"] == head


def test_data_that_dvc_does_not_track_are_unknown(run: Run) -> None:
    Path("data.dvc").unlink()
    assert run("promote", "ease")["data"]["hash"] == "unknown"


def test_a_wrong_parameter_of_serving_is_found_before_anything_is_packaged(run: Run) -> None:
    Path("params.yaml").write_text("serve: {polcy: top_n}\n")
    with pytest.raises(ConfigError, match=r"params\.yaml: serve\.polcy is not a known parameter; known ones are"):
        run("promote", "ease")
    assert not package.BUNDLE.exists()


def test_items_are_optional(run: Run) -> None:
    (package.CLEAN / "items.parquet").unlink()
    run("promote", "ease")
    assert Bundle.load(package.BUNDLE).items.columns == ["item_id"]
    assert read_json(package.BUNDLE / "manifest.json")["n_items"] == len(set(TRAIN["item_id"]))


def test_the_manifest_says_that_user_ids_are_pseudonyms(run: Run) -> None:
    assert run("promote", "ease")["pseudonyms"] is None
    names = Pseudonyms(variable="SECRET", key=b"k" * 32)
    write_record(names, package.TABLES)
    assert run("promote", "ease")["pseudonyms"] == names.record()


def test_what_private_training_cost_is_recorded(run: Run) -> None:
    assert run("promote", "ease")["privacy"] is None
    cost = {"unit": "user", "epsilon": 3.5, "delta": 1e-5, "steps": 40}
    model, items = train("ease", TRAIN)
    storage.save(storage.Trained(model=model, vocabulary=items, seed=7, privacy=cost), package.MODELS / "ease")
    assert run("promote", "ease")["privacy"] == cost
    assert read_json(package.BUNDLE / storage.DESCRIPTION)["privacy"] == cost


def test_a_winner_without_the_privacy_asked_for_is_not_packaged(run: Run) -> None:
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("models: [ease]", "models: [multvae], privacy: {epsilon: 4}"))
    with pytest.raises(ConfigError) as caught:
        run("promote", "popularity")
    assert str(caught.value) == (
        "popularity, which the gate chose, was not trained privately, as params.yaml: train.privacy asks; name one of "
        "train.models as gate.baseline, or set train.privacy to null."
    )
    assert not package.BUNDLE.exists()
