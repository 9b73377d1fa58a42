import polars as pl
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.data.tables import Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ConfigError, ModelError
from recloop.evaluation.contenders import fit, rival
from recloop.evaluation.gate import GateConfig
from recloop.evaluation.questions import ask
from recloop.evaluation.ranking import EvaluateConfig, evaluate
from tests.evaluation.conftest import Fixed

Parts = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
CPU = torch.device("cpu")


def test_a_rival_is_evaluated_as_a_candidate_was(many: Parts) -> None:
    questions, catalogue = ask(*many, targets="successive"), Vocabulary(many[0]["item_id"])
    model = Fixed(range(25))
    whole = evaluate(model, catalogue, questions, EvaluateConfig())
    champion = rival(model, catalogue, questions, GateConfig(), bundle="abc")
    assert champion.users["ndcg@10"].equals(whole.users["ndcg@10"])
    assert champion.metrics == {"ndcg@10": whole.metrics["ndcg@10"]}
    assert champion.slices == whole.slices
    assert (champion.model, champion.bundle) == ("conftest", "abc")


def test_a_baseline_is_fitted_on_training_events(parts: Parts) -> None:
    model, catalogue = fit("popularity", None, parts[0], device=CPU)
    assert catalogue.ids.to_list() == ["i1", "i2"]
    assert model.tensors()["counts"].tolist() == [2, 1]


def test_a_baseline_takes_its_parameters(parts: Parts) -> None:
    model, _ = fit("popularity", {"half_life_days": 1}, parts[0], device=CPU)
    assert model.tensors()["counts"].tolist() == [1, 1]  # i1 twice a day before i2 once
    with pytest.raises(ConfigError, match=r"params.yaml: train.popularity.days is not a known parameter; known ones"):
        fit("popularity", {"days": 1}, parts[0], device=CPU)


def test_a_baseline_knows_the_attributes(parts: Parts) -> None:
    items = pl.DataFrame({"item_id": ["i1", "i2", "i3"], "title": ["a", "b", "a"]})
    model, catalogue = fit("content_tfidf", None, parts[0], Attributes(items=items), device=CPU)
    assert catalogue.ids.to_list() == ["i1", "i2", "i3"]
    scores = model.score(Contexts.from_lists([[0]]))[0]
    assert scores[2] > scores[1]
    with pytest.raises(ModelError, match="content_tfidf needs a column of text about items"):
        fit("content_tfidf", None, parts[0], device=CPU)


def test_an_unknown_baseline_names_the_known_models(parts: Parts) -> None:
    with pytest.raises(ModelError, match=r"There is no model 'popular'; choose from: .*popularity"):
        fit("popular", None, parts[0], device=CPU)
