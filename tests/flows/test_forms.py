from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from flows.deploy import deploy
from flows.forms import choices, chosen
from flows.ingest import ingest
from flows.retrain import retrain
from flows.train import train
from recloop import models, sources
from recloop.data.splits import SplitConfig


def form(flow: Any) -> dict[str, Any]:
    schema = parameter_schema(flow).model_dump()
    fields = schema["properties"]
    for field in fields.values():
        for part in (field, field.get("items", {})):
            if reference := part.get("$ref"):
                part["enum"] = schema["definitions"][reference.rpartition("/")[2]]["enum"]
    return fields


def test_the_first_choice_leaves_things_alone():
    colours = choices("Colour", ["red", "green"])
    assert list(colours) == ["as in params.yaml", "red", "green"]
    assert chosen(colours.KEEP) is None
    assert chosen(colours("green")) == "green"


def test_a_choice_without_keep_must_be_made():
    assert list(choices("Colour", ["red"], keep=None)) == ["red"]


def test_the_form_of_train_offers_what_the_library_knows():
    fields = form(train)
    assert fields["models"]["items"]["enum"] == list(models.names())
    assert fields["source"]["enum"] == ["no new data", *sources.names()]
    assert fields["device"]["enum"] == ["as in params.yaml", "auto", "cpu", "cuda"]
    assert fields["warm_start"]["enum"] == ["as in params.yaml", "champion", "fresh values"]
    assert fields["refit"]["enum"] == ["as in params.yaml", "yes", "no"]
    for name in ("strategy", "targets"):
        allowed = SplitConfig.model_json_schema()["properties"][name]["enum"]
        assert fields[f"split_{name}"]["enum"] == ["as in params.yaml", *allowed]


def test_the_form_of_train_has_the_bounds_of_the_library():
    bounds = SplitConfig.model_json_schema()["properties"]["test_fraction"]
    number = form(train)["test_fraction"]["anyOf"][0]
    assert {key: number[key] for key in ("exclusiveMinimum", "exclusiveMaximum")} == {
        key: bounds[key] for key in ("exclusiveMinimum", "exclusiveMaximum")
    }


@pytest.mark.parametrize("flow", [train, ingest, deploy, retrain])
def test_every_field_is_described(flow: Any):
    assert all(field["description"] for field in form(flow).values())


def test_only_the_action_of_deploy_must_be_given():
    assert parameter_schema(deploy).required == ["action"]
    assert parameter_schema(train).required == []
    assert parameter_schema(ingest).required == []
