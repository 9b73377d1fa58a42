import pytest

from recloop.errors import ConfigError
from recloop.policies import find, names, top_n


def test_policies_are_found_by_the_name_of_their_module() -> None:
    assert "top_n" in names()
    assert find("top_n") is top_n.slate


def test_an_unknown_policy_lists_the_valid_names() -> None:
    with pytest.raises(ConfigError, match=r"There is no slate policy 'topn'; choose from: top_n\."):
        find("topn")
