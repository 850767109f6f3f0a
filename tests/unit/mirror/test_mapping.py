"""Conversion of Glance's images, field by field."""

from dataclasses import replace
from functools import reduce
from typing import Any

import orjson
import pytest

from app.catalog.documents import InvalidImageFile
from app.mirror.mapping import (
    BASE_PROPERTIES,
    access_of,
    convert,
    custom_properties,
    to_catalog_image,
)
from tests.support.fake_glance import glance_image
from tests.support.images import image, stored_images
from tests.support.projects import OTHER_PROJECT, PROJECT, THIRD_PROJECT

HEX_ID, DASHED_ID = "abcdef0123456789abcdef0123456789", "abcdef01-2345-6789-abcd-ef0123456789"
(PLAIN,) = stored_images(image(1, owner=THIRD_PROJECT, **{"OS-EXT-IMG-SIZE:size": 1}))
# Base properties that not every image of Glance has.
OPTIONAL_BASE_PROPERTIES = {
    "direct_url": "rbd://pool/image",
    "locations": [{"url": "rbd://pool/image", "metadata": {}}],
    "stores": "fast",
}
VISIBILITIES = ["public", "private", "shared", "community"]

Fields = dict[str, Any]


def status(glance_status: str, catalog_status: str, progress: int) -> tuple[Fields, Fields]:
    return {"status": glance_status}, {"status": catalog_status, "progress": progress}


def amount(value: Any, number: int) -> tuple[Fields, Fields]:
    return {"min_disk": value, "min_ram": value}, {"min_disk": number, "min_ram": number}


def time(text: str) -> tuple[Fields, Fields]:
    utc = "2020-02-03T04:05:06Z"
    return {"created_at": text, "updated_at": text}, {"created": utc, "updated": utc}


CONVERSIONS: list[tuple[Fields, Fields]] = [
    status("active", "ACTIVE", 100),
    status("queued", "SAVING", 25),
    status("saving", "SAVING", 50),
    status("killed", "ERROR", 0),
    status("deleted", "DELETED", 0),
    status("pending_delete", "DELETED", 0),
    *(status(other, "UNKNOWN", 0) for other in ("deactivated", "importing", "uploading", "ACTIVE", "")),
    amount(0, 0),
    amount(5, 5),
    amount("5", 5),
    amount("007", 7),
    amount(None, 0),
    amount(2**31 - 1, 2**31 - 1),
    ({"size": 0}, {"size": 0}),
    ({"size": 2**53 - 1}, {"size": 2**53 - 1}),
    ({"name": "ubuntu"}, {"name": "ubuntu"}),
    ({"name": None, "owner": None, "size": None}, {"name": None, "owner": None, "size": None}),
    ({"owner": ""}, {"owner": None}),
    ({"owner": HEX_ID.upper()}, {"owner": HEX_ID}),
    ({"owner": DASHED_ID}, {"owner": HEX_ID}),
    ({"os_hidden": True}, {"hidden": True}),
    ({"id": DASHED_ID.upper()}, {"id": DASHED_ID}),
    *(({"visibility": word}, {"visibility": word}) for word in VISIBILITIES),
    time("2020-02-03T04:05:06Z"),
    time("2020-02-03T04:05:06.999999Z"),
    time("2020-02-03T05:05:06+01:00"),
    ({"created_at": "2021-01-01T00:00:00Z"}, {"created": "2021-01-01T00:00:00Z"}),
    ({"updated_at": "2021-01-01T00:00:00Z"}, {"updated": "2021-01-01T00:00:00Z"}),
    ({"min_disk": 20, "min_ram": 512}, {"min_disk": 20, "min_ram": 512}),
    ({"os_distro": "ubuntu", "arch": "x"}, {"metadata": '{"arch":"x","os_distro":"ubuntu"}'}),
]


@pytest.mark.parametrize(("fields", "expected"), CONVERSIONS, ids=str)
def test_fields_are_converted(fields: Fields, expected: Fields) -> None:
    assert to_catalog_image(glance_image(**fields)) == replace(PLAIN, **expected)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("min_disk", {"min_disk": 0}),
        ("min_ram", {"min_ram": 0}),
        ("name", {"name": None}),
        ("owner", {"owner": None}),
        ("size", {"size": None}),
        ("os_hidden", {"hidden": False}),
    ],
)
def test_missing_fields_get_defaults(field: str, expected: Fields) -> None:
    image = glance_image()
    del image[field]
    assert to_catalog_image(image) == replace(PLAIN, **expected)


def test_members_are_normalized_and_sorted_without_duplicates() -> None:
    accepted = {DASHED_ID: "accepted", PROJECT: "accepted", HEX_ID: "accepted"}
    pending = {THIRD_PROJECT: "pending", OTHER_PROJECT: "rejected"}
    assert to_catalog_image(glance_image(visibility="shared"), accepted | pending) == replace(
        PLAIN,
        visibility="shared",
        members=f'["{PROJECT}","{HEX_ID}"]',
        pending_members=f'["{OTHER_PROJECT}","{THIRD_PROJECT}"]',
    )


@pytest.mark.parametrize(
    ("value", "item"),
    [
        ("", ""),
        ("a", "a"),
        ("\u00e9\U0001f427", "\u00e9\U0001f427"),
        (None, None),
        (True, "True"),
        (False, "False"),
        (0, "0"),
        (-5, "-5"),
        (1.5, "1.5"),
        ([], "[]"),
        ({"b": "é", "a": [1, None]}, '{"b":"é","a":[1,null]}'),
    ],
)
def test_custom_property_becomes_text_metadata_item(value: Any, item: str | None) -> None:
    image = glance_image(a=value)
    assert custom_properties(image) == {"a": item}
    assert to_catalog_image(image) == replace(PLAIN, metadata=orjson.dumps({"a": item}).decode())


def test_base_properties_are_no_metadata_items() -> None:
    image = glance_image() | OPTIONAL_BASE_PROPERTIES
    assert custom_properties(image) == {}
    assert to_catalog_image(image) == PLAIN
    assert [key for key in image if key not in BASE_PROPERTIES] == []


@pytest.mark.parametrize(
    "key", ["a", "os_distro", "Name", "locationss", "owner_specified.openstack.md5", "deleted", ""]
)
def test_other_keys_are_custom_properties(key: str) -> None:
    assert key not in BASE_PROPERTIES
    assert custom_properties(glance_image() | {key: "x"}) == {key: "x"}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"id": "x"}, 'id: "x" is not a UUID'),
        ({"id": None}, "id: null is not a UUID"),
        ({"name": 5}, "name: 5 is not text without "),
        ({"status": None}, "status: null is not "),
        ({"status": 5}, "status: 5 is not "),
        ({"status": ["active"]}, 'status: ["active"] is not '),
        ({"created_at": None}, "created: null is not a time "),
        ({"created_at": "yesterday"}, 'created: "yesterday" is not a time '),
        ({"updated_at": 5}, "updated: 5 is not a time "),
        ({"min_disk": -1}, "minDisk: -1 is not a whole number from 0 to 2147483647"),
        ({"min_disk": "-1"}, 'minDisk: "-1" is not a whole number '),
        ({"min_ram": True}, "minRam: true is not a whole number "),
        ({"min_ram": "\u0665"}, 'minRam: "\u0665" is not a whole number '),
        ({"min_ram": "9" * 5000}, 'minRam: "999'),
        ({"min_ram": 2**31}, "minRam: 2147483648 is not a whole number "),
        ({"visibility": None}, "visibility: null is not "),
        ({"visibility": "secret"}, 'visibility: "secret" is not one of '),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_field_is_rejected(fields: Fields, error: str) -> None:
    with pytest.raises(InvalidImageFile) as raised:
        to_catalog_image(glance_image(**fields))
    assert str(raised.value).startswith(error)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("image", [None, [], "x", 5, True])
def test_value_that_is_no_object_is_rejected(image: Any) -> None:
    with pytest.raises(InvalidImageFile, match=r"^it is not an object$"):
        to_catalog_image(image)


NESTED: list[Any] = reduce(lambda value, _: [value], range(300), [])
# What Glance has, what the catalog takes over, and what is left out.
PARTIAL: list[tuple[Fields, dict[Any, str], Fields, list[str]]] = [
    ({"size": 2**53}, {}, {"size": None}, ["the size '9007199254740992'"]),
    ({"size": -1}, {}, {"size": None}, ["the size '-1'"]),
    ({"owner": "a/b"}, {}, {"owner": None}, ["the owner 'a/b'"]),
    ({"name": "a\0b"}, {}, {"name": "ab"}, ["the NUL characters of the name 'a\\x00b'"]),
    (
        {},
        {PROJECT: "accepted", "a/b": "accepted", OTHER_PROJECT: "pending", 1: "pending"},
        {"members": f'["{PROJECT}"]', "pending_members": f'["{OTHER_PROJECT}"]'},
        ["the member 'a/b'", "the member '1'"],
    ),
    ({"a": NESTED, "b": "c"}, {}, {"metadata": '{"b":"c"}'}, ["the too deeply nested property 'a'"]),
    ({"size": "5", "owner": 5}, {"?": "accepted"}, {"size": None, "owner": None}, []),
]


@pytest.mark.parametrize(("fields", "members", "expected", "omitted"), PARTIAL, ids=lambda each: str(each)[:50])
def test_parts_that_the_catalog_cannot_store_are_left_out(
    fields: Fields, members: dict[str, str], expected: Fields, omitted: list[str]
) -> None:
    conversion = convert(glance_image(**fields), members)
    assert conversion.image == replace(PLAIN, **expected)
    assert conversion.omitted == (omitted or ["the size '5'", "the owner '5'", "the member '?'"])


@pytest.mark.parametrize("visibility", VISIBILITIES)
@pytest.mark.parametrize(("owner", "expected"), [(PROJECT, PROJECT), (None, None), (DASHED_ID.upper(), HEX_ID)])
@pytest.mark.parametrize(
    "invalid", [{}, {"name": 5}, {"status": None}, {"created_at": "x", "updated_at": None}, {"min_disk": "x"}], ids=str
)
def test_access_is_known_although_other_fields_are_invalid(
    visibility: str, owner: str | None, expected: str | None, invalid: Fields
) -> None:
    assert access_of(glance_image(visibility=visibility, owner=owner) | invalid) == (expected, visibility)


INVALID_ACCESS: list[Any] = [
    None,
    [],
    "x",
    *(glance_image(**fields) for fields in ({"visibility": "secret"}, {"visibility": None})),
]


@pytest.mark.parametrize("image", INVALID_ACCESS, ids=lambda image: str(image)[:40])
def test_invalid_access_is_unknown(image: Any) -> None:
    assert access_of(image) is None
