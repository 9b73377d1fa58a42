import pytest

from recloop import models
from recloop.errors import ConfigError, ModelError
from recloop.models.ease import EASEConfig
from recloop.training.config import DEFAULT, EarlyStopping, PrivacyConfig, TrainConfig, model_config, train_config


def refusal(section: object) -> str:
    with pytest.raises(ConfigError) as error:
        train_config({"train": section})
    return str(error.value)


def test_a_field_without_special_needs_is_trained_by_default() -> None:
    assert not set().union(*(models.find(name).needs for name in DEFAULT)) - {"timestamps"}
    assert train_config({}) == TrainConfig(models=DEFAULT, seed=0, device="auto", early_stopping=EarlyStopping())


def test_the_models_own_parameters_are_kept_apart() -> None:
    params = {
        "train": {"models": ["ease"], "seed": 4, "ease": {"regularization": 7}, "early_stopping": {"patience": None}}
    }
    assert train_config(params) == TrainConfig(models=("ease",), seed=4, early_stopping=EarlyStopping(patience=None))
    assert model_config(params, "ease") == EASEConfig(regularization=7)
    assert model_config(params, "als") == models.find("als").Config()
    assert model_config({"train": {"ease": None}}, "ease") == EASEConfig()


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    assert refusal({"models": ["ease", "bert"]}) == (
        "params.yaml: train.models is ['ease', 'bert'], but 'bert' is no model; choose from: "
        f"{', '.join(models.names())}; correct the value."
    )


@pytest.mark.parametrize(
    ("section", "part"),
    [
        ({"models": []}, "train.models"),
        ({"models": ["ease", "ease"]}, "must name each model once"),
        ({"seed": -1}, "train.seed is -1"),
        ({"device": "tpu"}, "train.device is 'tpu'"),
        ({"bert": {}}, "train.bert is not a known parameter"),
        ({"early_stopping": {"patience": 0}}, "train.early_stopping.patience is 0"),
        ({"early_stopping": {"metric": "coverage@10"}}, "must be taken from ranks, such as ndcg@10"),
        ({"privacy": {}}, "train.privacy.epsilon is required"),
        ({"privacy": {"epsilon": 0}}, "train.privacy.epsilon is 0"),
        ({"privacy": {"epsilon": 1, "delta": 1}}, "train.privacy.delta is 1"),
        ({"privacy": {"epsilon": 1, "accountant": "gdp"}}, "train.privacy.accountant is 'gdp'"),
        ({"early_stopping": {"metric": "ndgc@10"}}, "there is no metric 'ndgc'; choose from: auc"),
    ],
)
def test_a_wrong_parameter_is_named(section: object, part: str) -> None:
    assert part in refusal(section)


def test_the_metric_has_one_spelling() -> None:
    assert EarlyStopping(metric=" recall@020").metric == "recall@20"


def test_a_models_wrong_parameter_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        model_config({"train": {"ease": {"lambda": 3}}}, "ease")
    assert str(error.value) == (
        "params.yaml: train.ease.lambda is not a known parameter; known ones are: half_life_days, precision, "
        "regularization."
    )
    with pytest.raises(ConfigError) as error:
        model_config({"train": {"ease": 250}}, "ease")
    assert str(error.value) == ("params.yaml: train.ease must be a mapping, not 250; write its keys below it.")
    with pytest.raises(ModelError, match="There is no model 'bert'; choose from: als"):
        model_config({}, "bert")


@pytest.mark.parametrize(
    ("names", "own", "sentence"),
    [
        (["multvae", "als"], {}, "kept by als: it is not trained by gradient steps; leave als out"),
        (["bpr"], {}, "kept by bpr: it does not say whose each of its training examples is; leave bpr out"),
        (
            ["recvae"],
            {},
            "kept by recvae: a round of it is several passes, whose steps are not counted; leave recvae out",
        ),
        (
            ["sasrec"],
            {"sasrec": {"loss": "sampled_softmax", "sampling": "popularity"}},
            "kept by sasrec: it draws items in proportion to everybody's events; leave sasrec out",
        ),
    ],
)
def test_a_model_that_cannot_keep_privacy_is_refused_by_name(
    names: list[str], own: dict[str, object], sentence: str
) -> None:
    train = {"models": names, "privacy": {"epsilon": 4}, **own}
    assert refusal(train) == (
        f"params.yaml: train.privacy cannot be {sentence} of train.models, or set train.privacy to null."
    )
    assert train_config({"train": train | {"privacy": None}}).models == tuple(names)


def test_a_second_training_of_the_winner_is_not_in_the_budget() -> None:
    assert refusal({"models": ["multvae"], "privacy": {"epsilon": 4}, "refit": True}) == (
        "params.yaml: train.refit trains the winner a second time on the same people, which the budget of "
        "train.privacy does not hold; set refit to false or privacy to null."
    )


def test_a_field_that_keeps_privacy() -> None:
    found = train_config({"train": {"models": ["multvae", "gru4rec"], "privacy": {"epsilon": 4}}}).privacy
    assert found == PrivacyConfig(epsilon=4.0, delta=None, max_grad_norm=1.0, accountant="rdp")
