"""Which images a project can see, in which order, and what the filters find."""

import pytest

from app.catalog.engine import Engine
from app.catalog.reader import CatalogReader
from app.errors import ImageNotFound, InvalidParameter
from tests.support.catalogs import add_images, execute, listed
from tests.support.images import Fields, image, image_id
from tests.support.projects import OTHER_PROJECT, PROJECT, SAMPLE_PROJECT, THIRD_PROJECT

IMAGES = [
    image(1, visibility="public"),
    image(2, visibility="public", owner=PROJECT),
    image(3, visibility="public", owner=OTHER_PROJECT),
    image(4, visibility="private", owner=PROJECT),
    image(5, visibility="private", owner=OTHER_PROJECT),
    image(6, visibility="shared", owner=PROJECT, members=[PROJECT, OTHER_PROJECT]),
    image(7, visibility="shared", owner=OTHER_PROJECT, members=[PROJECT]),
    image(8, visibility="shared", owner=OTHER_PROJECT, members=[THIRD_PROJECT]),
    image(9, visibility="community", owner=PROJECT),
    image(10, visibility="community", owner=OTHER_PROJECT),
    image(11, visibility="private"),
    image(12, visibility="shared", members=[PROJECT]),
    image(13, visibility="private", owner=OTHER_PROJECT, members=[PROJECT]),
    image(14, visibility="community", owner=OTHER_PROJECT, members=[PROJECT]),
]
COMMUNITY = [9, 10, 14]  # images that every project can see by their id

each_project = pytest.mark.parametrize(
    ("project_id", "expected"),
    [
        (PROJECT, [1, 2, 3, 4, 6, 7, 9, 12]),
        (OTHER_PROJECT, [1, 2, 3, 5, 6, 7, 8, 10, 13, 14]),
        (THIRD_PROJECT, [1, 2, 3, 8]),
        (SAMPLE_PROJECT, [1, 2, 3]),
    ],
)


@each_project
def test_list_has_public_images_the_projects_own_and_those_it_accepted(
    engine: Engine, project_id: str, expected: list[int]
) -> None:
    assert listed(add_images(engine, *IMAGES), project_id) == expected


UNLISTED = [
    image(1, os_hidden=True),
    image(2, visibility="private", owner=PROJECT, os_hidden=True),
    image(3, visibility="shared", owner=PROJECT, members=[OTHER_PROJECT], pending_members=[THIRD_PROJECT]),
    image(4, visibility="shared", owner=PROJECT, members=[OTHER_PROJECT], os_hidden=True),
    image(5, visibility="private", owner=PROJECT, pending_members=[THIRD_PROJECT]),
    image(6, os_hidden=True, status="DELETED"),
]


@pytest.mark.parametrize(
    ("project_id", "in_lists", "by_id"),
    [
        (PROJECT, [3, 5], [1, 2, 3, 4, 5]),
        (OTHER_PROJECT, [3], [1, 3, 4]),
        (THIRD_PROJECT, [], [1, 3]),
        (SAMPLE_PROJECT, [], [1]),
    ],
)
def test_hidden_images_and_those_not_accepted_are_shown_by_id_only(
    engine: Engine, project_id: str, in_lists: list[int], by_id: list[int]
) -> None:
    add_images(engine, *UNLISTED)
    assert listed(engine, project_id) == in_lists
    # Who saw the image before it was hidden learns that it is deleted.
    assert listed(engine, project_id, changes_since="2000-01-01T00:00:00Z") == [*in_lists, 6]
    with engine.snapshot() as snapshot:
        found = [number for number in range(1, 7) if snapshot.find_image(project_id, image_id(number))]
    assert found == by_id
    assert listed(engine, project_id, marker=image_id(1)) == in_lists


@each_project
def test_images_in_the_list_and_community_images_can_be_read_by_id(
    engine: Engine, project_id: str, expected: list[int]
) -> None:
    add_images(engine, *IMAGES, image(15, status="DELETED"))
    catalog = CatalogReader(engine)
    for number in range(1, 17):
        if number in {*expected, *COMMUNITY}:
            assert catalog.get_image(project_id, image_id(number)).id == image_id(number)
        else:
            with pytest.raises(ImageNotFound):
                catalog.get_image(project_id, image_id(number))


def test_contains_images_and_tombstones_of_every_project(engine: Engine) -> None:
    add_images(engine, *IMAGES, image(15, status="DELETED"))
    with engine.snapshot() as snapshot:
        assert [number for number in range(1, 17) if not snapshot.contains(image_id(number))] == [16]


def test_project_whose_id_is_an_asterisk_is_a_project_like_others(engine: Engine) -> None:
    add_images(engine, image(1), image(2, owner="*", visibility="private"), image(3, owner="*"))
    assert [listed(engine, project_id) for project_id in ("*", PROJECT)] == [[1, 2, 3], [1, 3]]


def test_case_and_dashes_of_project_ids_do_not_matter(engine: Engine) -> None:
    dashed, plain = "ABCDEF01-2345-6789-abcd-ef0123456789", "abcdef0123456789abcdef0123456789"
    add_images(
        engine,
        image(1, owner=dashed, visibility="private"),
        image(2, owner=OTHER_PROJECT, visibility="shared", members=[plain.upper(), dashed]),
    )
    assert [listed(engine, project_id) for project_id in (dashed, plain, plain.upper())] == [[1, 2]] * 3


@pytest.mark.parametrize("marker", [1, 4, 7, 10, 15])
def test_page_continues_after_a_visible_image_or_tombstone(engine: Engine, marker: int) -> None:
    add_images(engine, *IMAGES, image(15, status="DELETED"))
    assert listed(engine, marker=image_id(marker)) == [each for each in listed(engine) if each > marker]


@pytest.mark.parametrize("marker", [image_id(5), image_id(8), image_id(11), image_id(13), image_id(99), "nonsense"])
def test_other_markers_are_rejected(engine: Engine, marker: str) -> None:
    add_images(engine, *IMAGES)
    message = f"^Parameter 'marker': '{marker}' is not the id of an image that {PROJECT} can see"
    with pytest.raises(InvalidParameter, match=message):
        listed(engine, marker=marker)


def test_list_is_sorted_by_creation_and_then_by_insertion(engine: Engine) -> None:
    add_images(
        engine,
        image(1, created="2020-01-01T00:00:00Z"),
        image(2, created="2021-01-01T00:00:00Z", owner=PROJECT),
        image(3, created="2020-01-01T00:00:00Z", owner=PROJECT),
        image(4, created="2020-01-01T00:00:00Z", owner=OTHER_PROJECT, visibility="shared", members=[PROJECT]),
        image(5, created="2021-01-01T00:00:00Z"),
    )
    assert listed(engine) == [2, 5, 1, 3, 4]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1]),
        ({"status": "DELETED"}, [2]),
        ({"status": "ERROR"}, []),
        ({"changes_since": "2020-01-01T00:00:00Z"}, [1, 2]),
        ({"changes_since": "2020-01-01T00:00:01Z"}, [2]),
        ({"changes_since": "2020-01-01T00:00:00Z", "status": "ACTIVE"}, [1]),
        ({"changes_since": "2020-06-01T00:00:01Z"}, []),
    ],
)
def test_tombstones_are_listed_by_status_or_by_time_of_change(
    engine: Engine, filters: dict[str, str], expected: list[int]
) -> None:
    add_images(engine, image(1), image(2, status="DELETED", updated="2020-06-01T00:00:00Z"))
    assert listed(engine, **filters) == expected


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("s1", [1]),
        ("http://a.test/v2/x/servers/s1", [1]),
        ("http://a.test/x/servers/s1?all=1#top", [1]),
        ("/servers/s1", [1]),
        ("http://a.test/servers/s1/", []),
        ("", []),
        ("http://s1", []),
        ("http://[v1.x]:0/s1", [1]),
        ("http://[::1%25eth0]/s1", [1]),
        ("urn:s1", [1]),
        ("S1", []),
    ],
)
def test_server_filter_takes_the_last_segment_of_the_path(engine: Engine, server: str, expected: list[int]) -> None:
    add_images(engine, image(1, metadata={"instance_uuid": "s1"}), image(2, metadata={"instance_uuid": ""}), image(3))
    assert listed(engine, server=server) == expected


@pytest.mark.parametrize(
    ("type_", "expected"),
    [("ALL", [1, 2, 3, 4, 5, 6, 7]), ("SERVER", [1, 2, 3]), ("BASE", [4, 5, 6, 7]), ("snapshot", [2]), ("backup", [3])],
)
def test_type_filter(engine: Engine, type_: str, expected: list[int]) -> None:
    metadata: list[Fields] = [
        {"instance_uuid": "s1"},
        {"image_type": "snapshot"},
        {"image_type": "backup", "instance_uuid": None},
        {"image_type": "SNAPSHOT"},
        {"image_type": None, "instance_uuid": ""},
        {"instance_uuid": None},
        {},
    ]
    add_images(engine, *(image(number, metadata=each) for number, each in enumerate(metadata, 1)))
    assert listed(engine, type_=type_) == expected


def test_entry_of_the_index_whose_image_does_not_exist_is_omitted(engine: Engine, location: str) -> None:
    add_images(engine, image(1), image(2), image(3))
    execute(location, f"DELETE FROM images WHERE id = '{image_id(2)}'")  # noqa: S608 no user input
    assert listed(engine) == [1, 3]
