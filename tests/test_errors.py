import inspect

from recloop import errors


def test_all_errors_share_one_root() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert len(kinds) > 1
    assert all(issubclass(kind, errors.RecloopError) for kind in kinds)
    assert issubclass(errors.RecloopError, ValueError)
