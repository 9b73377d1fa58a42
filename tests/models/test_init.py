import pytest

from recloop import models
from recloop.errors import ModelError
from recloop.models.base import Model


def test_every_module_but_the_contract_and_storage_is_a_model() -> None:
    assert {"popularity", "item_knn", "ease", "als", "sasrec"} <= set(models.names())
    assert not {"base", "storage"} & set(models.names())
    assert list(models.names()) == sorted(models.names())


@pytest.mark.parametrize("name", models.names())
def test_models_are_found_by_name(name: str) -> None:
    assert issubclass(models.find(name), Model)
    assert models.find(name).name() == name


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(ModelError) as error:
        models.find("storage")
    assert str(error.value) == f"There is no model 'storage'; choose from: {', '.join(models.names())}."
