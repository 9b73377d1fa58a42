from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

from recloop.serving.ids import RequestIds


def test_ids_are_uuids_of_version_4_and_none_comes_twice():
    ids = RequestIds()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: ids(), range(5_000)))
    assert len(set(made)) == 5_000
    for one in made:
        uuid = UUID(one)
        assert (uuid.version, uuid.variant, str(uuid)) == (4, RFC_4122, one)


def test_every_other_digit_takes_all_values():
    ids = RequestIds()
    made = [ids().replace("-", "") for _ in range(1_000)]
    values = [len({one[place] for one in made}) for place in range(32)]
    assert values == [16] * 12 + [1] + [16] * 3 + [4] + [16] * 15
