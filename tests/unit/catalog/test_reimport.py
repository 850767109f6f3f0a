"""Import of images that the catalog already has: fields that the file omits keep their values."""

from typing import Any

import orjson
import pytest

from app.catalog.documents import dump_images
from app.catalog.engine import Engine
from app.catalog.image_files import ImageFileReader, ImageFiles
from app.catalog.models import ImportResult
from app.catalog.transfer import import_images, preview_import
from app.mirror.mapping import to_file_image
from tests.support.catalogs import add_images, exported
from tests.support.clock import FakeClock
from tests.support.fake_glance import glance_image
from tests.support.images import Fields, image, image_id
from tests.support.projects import OTHER_PROJECT, PROJECT, THIRD_PROJECT
from tests.unit.catalog.conftest import OpenCatalog

NOW, LATER = FakeClock().now(), "2030-01-01T00:00:00Z"
ACCESS: Fields = {
    "owner": PROJECT,
    "visibility": "shared",
    "members": [OTHER_PROJECT],
    "pending_members": [THIRD_PROJECT],
    "os_hidden": True,
}
REQUIREMENTS: Fields = {"minDisk": 1, "minRam": 2, "OS-EXT-IMG-SIZE:size": 3}
STORED: Fields = image(1, name="a", status="SAVING", progress=75, metadata={"a": "b"}, **REQUIREMENTS, **ACCESS)
DEFAULTS: Fields = image(1, created=NOW, updated=NOW, visibility="public", members=[], pending_members=[]) | {
    "OS-EXT-IMG-SIZE:size": None,
    "owner": None,
    "os_hidden": False,
}


def read(file: bytes, **options: Any) -> ImageFiles:
    return ImageFileReader(from_glance=to_file_image, clock=FakeClock(), **options).read([("file", file)])


def import_(engine: Engine, *documents: Fields, **options: Any) -> ImportResult:
    """Import a file, after a preview that has to report the same."""
    content = read(orjson.dumps(documents), **options)
    preview = preview_import(engine, content.images, unstated=content.unstated, clock=FakeClock())
    result = import_images(engine, content.images, unstated=content.unstated, tombstone_days=30, clock=FakeClock())
    assert result == preview
    return result


def stored(engine: Engine) -> list[Fields]:
    return list(orjson.loads(b"".join(dump_images(exported(engine))))["images"])


UNSTATED: list[Fields] = [{}, {"server": None}, {"progress": None}]
STATED: list[tuple[Fields, Fields]] = [  # what a file states, and how that changes the image
    *(({name: value}, {name: value}) for name, value in DEFAULTS.items() if name not in {"id", "status", "progress"}),
    *(({name: None}, {name: DEFAULTS[name]}) for name in ("minRam", "metadata", "members", "os_hidden")),
    ({"status": "ACTIVE"}, {"status": "ACTIVE", "progress": 100}),
    ({"status": "error", "progress": 1}, {"status": "ERROR", "progress": 1}),
    ({"progress": 1}, {"progress": 1}),
    ({"name": "new", "updated": LATER}, {"name": "new", "updated": LATER}),
    ({"server": {"id": "s"}}, {"metadata": {"a": "b", "instance_uuid": "s"}}),
    ({"server": {"id": "s"}, "metadata": {"c": "d"}}, {"metadata": {"c": "d", "instance_uuid": "s"}}),
    ({"owner": ""}, {"owner": None}),
    *(({"visibility": each}, {"visibility": each}) for each in ("public", "private", "community")),
]


@pytest.mark.parametrize("fields", UNSTATED, ids=str)
def test_image_is_unchanged_if_the_file_states_no_field(engine: Engine, fields: Fields) -> None:
    add_images(engine, STORED)
    assert import_(engine, {"id": image_id(1)} | fields) == ImportResult(unchanged=1)
    assert stored(engine) == [STORED]


@pytest.mark.parametrize(("fields", "change"), STATED, ids=str)
def test_only_fields_that_the_file_states_change(engine: Engine, fields: Fields, change: Fields) -> None:
    add_images(engine, STORED)
    assert import_(engine, {"id": image_id(1)} | fields) == ImportResult(changed=1)
    assert stored(engine) == [STORED | {"updated": NOW} | change]


@pytest.mark.parametrize("fields", [*UNSTATED, *(fields for fields, _ in STATED)], ids=str)
def test_file_that_is_written_states_what_the_one_read_does(fields: Fields) -> None:
    content = read(orjson.dumps([{"id": image_id(1)} | fields]))
    assert read(b"".join(dump_images(content.images, content.unstated))) == content


@pytest.mark.parametrize("visibility", ["public", "private", "shared", "community"])
@pytest.mark.parametrize(
    ("fields", "options", "expected"),
    [
        ({}, {}, {}),
        ({"owner": OTHER_PROJECT}, {}, {"owner": OTHER_PROJECT}),
        ({}, {"owner": OTHER_PROJECT}, {"owner": OTHER_PROJECT}),
        ({"owner": None}, {"owner": OTHER_PROJECT}, {"owner": OTHER_PROJECT}),
        ({"owner": THIRD_PROJECT}, {"owner": OTHER_PROJECT}, {"owner": THIRD_PROJECT}),
        ({}, {"visibility": "public"}, {"visibility": "public"}),
        ({"visibility": "private"}, {"visibility": "public"}, {"visibility": "private"}),
    ],
    ids=str,
)
def test_access_changes_only_by_the_file_or_else_by_an_option(
    engine: Engine, visibility: str, fields: Fields, options: dict[str, str], expected: Fields
) -> None:
    before = STORED | {"visibility": visibility}
    add_images(engine, before)
    import_(engine, image(1) | fields, **options)
    after = stored(engine)[0]
    assert {name: after[name] for name in ACCESS} == {name: before[name] for name in ACCESS} | expected


@pytest.mark.parametrize(("before", "after"), [(STORED, DEFAULTS), (DEFAULTS, STORED)], ids=["defaults", "others"])
def test_export_states_every_field(engine: Engine, open_catalog: OpenCatalog, before: Fields, after: Fields) -> None:
    add_images(engine, before)
    import_(engine, *stored(add_images(open_catalog("exported"), after)))
    assert stored(engine) == [after]


def test_glance_image_states_all_but_its_members(engine: Engine) -> None:
    add_images(engine, STORED)
    import_(engine, glance_image(1, visibility="shared", owner=PROJECT, os_hidden=False))
    after = stored(engine)[0]
    assert {name: after[name] for name in ACCESS} == ACCESS | {"os_hidden": False}
    assert (after["metadata"], after["minRam"], after["OS-EXT-IMG-SIZE:size"]) == ({}, 0, 1)


def test_deleted_image_becomes_visible_again_to_those_who_could_see_it(engine: Engine) -> None:
    add_images(engine, STORED | {"status": "DELETED"})
    assert import_(engine, {"id": image_id(1), "name": "b"}) == ImportResult(changed=1)
    restored = {"name": "b", "status": "ACTIVE", "progress": 100, "updated": NOW}
    assert stored(engine) == [STORED | restored]


@pytest.mark.parametrize(
    ("fields", "options", "expected"),
    [
        ({}, {}, {}),
        ({"name": "x"}, {"owner": PROJECT, "visibility": "private"}, {"owner": PROJECT, "visibility": "private"}),
        ({"status": "saving"}, {}, {"status": "SAVING", "progress": 50}),
        ({"created": LATER}, {}, {"created": LATER, "updated": LATER}),
        ({"updated": LATER}, {}, {"created": LATER, "updated": LATER}),
    ],
    ids=str,
)
def test_new_image_has_defaults(engine: Engine, fields: Fields, options: dict[str, str], expected: Fields) -> None:
    assert import_(engine, {"id": image_id(1)} | fields, **options) == ImportResult(new=1)
    assert stored(engine) == [DEFAULTS | fields | expected]


def test_new_images_are_imported_with_existing_ones_in_batches(engine: Engine) -> None:
    add_images(engine, *(image(number, visibility="private") for number in range(0, 2500, 2)))
    minimal = [{"id": image_id(number), "name": None} for number in range(2500)]
    assert import_(engine, *minimal) == ImportResult(new=1250, unchanged=1250)
    assert sum(each["visibility"] == "private" for each in stored(engine)) == 1250
