from recloop.simulation.days import Lived, as_table


def test_what_is_rare_has_its_column_too():
    """The first person without a history may come after many with one."""
    common = Lived(day=0, user_id="u", bundle="b", fallback=None, reward=0.5, best=1.0, acts=1)
    rare = Lived(day=1, user_id="v", bundle="b", fallback="empty_history", reward=0.0, best=1.0, acts=0)
    table = as_table([*[common] * 1000, rare])
    assert table.height == 1001
    assert table["fallback"].drop_nulls().to_list() == ["empty_history"]
