"""Image parts: of one version of the catalog, in bounded memory."""

from app.catalog.image_parts import PartStore

PARTS = dict.fromkeys(range(4), b"x" * 800)  # each takes 1000 bytes with its overhead


def test_parts_are_found_at_their_version_only() -> None:
    store = PartStore(10_000)
    store.at(1).add({1: b"a", 2: b"b"})
    assert store.at(1).find([2, 3, 1]) == [b"b", None, b"a"]
    assert store.at(2).find([1, 2]) == [None, None]
    assert store.at(1).find([1, 2]) == [None, None]


def test_parts_of_an_earlier_version_are_not_stored_with_those_of_a_later_one() -> None:
    store = PartStore(10_000)
    earlier, later = store.at(1), store.at(2)
    earlier.add({1: b"a"})
    assert (later.find([1]), store.bytes) == ([None], 0)


def test_parts_without_a_version_are_not_stored() -> None:
    store = PartStore(10_000)
    store.at(1).add({1: b"a"})
    store.at(None).add({1: b"b", 2: b"b"})
    assert store.at(None).find([1]) == [None]
    assert store.at(1).find([1, 2]) == [b"a", None]


def test_oldest_parts_are_evicted_beyond_the_bound() -> None:
    store = PartStore(3_000)
    for number, part in PARTS.items():
        store.at(1).add({number: part})
        assert store.bytes <= 3_000
    assert [part is not None for part in store.at(1).find(PARTS)] == [False, True, True, True]


def test_part_that_is_added_again_is_counted_once() -> None:
    store = PartStore(3_000)
    for _ in range(2):
        store.at(1).add({1: PARTS[1]})
    assert store.bytes == 1_000
