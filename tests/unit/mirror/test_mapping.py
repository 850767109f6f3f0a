"""What an image of Glance's is in the catalog: field by field."""

from typing import Any

import orjson
import pytest

from app.catalog.documents import InvalidImageFile
from app.catalog.models import StoredImage
from app.errors import ImageNotFound
from app.mirror.mapping import access_of, is_field, is_visible, properties, require_not_deleted, to_catalog_image
from tests.support.fake_glance import OWNER, glance_image
from tests.support.images import image_id

ME = "11111111111111111111111111111111"
PLAIN = StoredImage(
    id=image_id(1),
    name=None,
    status="ACTIVE",
    progress=100,
    created="2020-01-01T00:00:00Z",
    updated="2020-01-01T00:00:00Z",
    min_disk=0,
    min_ram=0,
    size=1,
    metadata="{}",
    owner=OWNER,
    visibility="public",
    members="[]",
)
# Beside those that each image of Glance's has.
OTHER_FIELDS = {
    "direct_url": "rbd://pool/image",
    "locations": [{"url": "rbd://pool/image", "metadata": {}}],
    "stores": "fast",
}


def test_an_image_has_what_glance_says_of_it() -> None:
    image = glance_image(
        7,
        name="ubuntu",
        owner=ME,
        visibility="private",
        created_at="2020-01-01T00:00:00Z",
        updated_at="2021-01-01T00:00:00Z",
        min_disk=20,
        min_ram=512,
        size=194008676,
        os_distro="ubuntu",
        architecture="x86_64",
    )
    assert to_catalog_image(image) == StoredImage(
        id=image_id(7),
        name="ubuntu",
        status="ACTIVE",
        progress=100,
        created="2020-01-01T00:00:00Z",
        updated="2021-01-01T00:00:00Z",
        min_disk=20,
        min_ram=512,
        size=194008676,
        metadata='{"architecture":"x86_64","os_distro":"ubuntu"}',
        owner=ME,
        visibility="private",
        members="[]",
    )


@pytest.mark.parametrize(
    ("theirs", "status", "progress"),
    [
        ("active", "ACTIVE", 100),
        ("queued", "SAVING", 25),
        ("saving", "SAVING", 50),
        ("killed", "ERROR", 0),
        ("deleted", "DELETED", 0),
        ("pending_delete", "DELETED", 0),
        ("deactivated", "UNKNOWN", 0),
        ("importing", "UNKNOWN", 0),
        ("uploading", "UNKNOWN", 0),
        ("ACTIVE", "UNKNOWN", 0),
        ("", "UNKNOWN", 0),
    ],
)
def test_the_status_is_computes_word_for_it(theirs: str, status: str, progress: int) -> None:
    assert to_catalog_image(glance_image(status=theirs)) == PLAIN._replace(status=status, progress=progress)


@pytest.mark.parametrize(
    ("amount", "number"), [(0, 0), (5, 5), ("5", 5), ("007", 7), (None, 0), (2**31 - 1, 2**31 - 1)]
)
def test_an_amount_may_be_text_or_nothing(amount: Any, number: int) -> None:
    expected = PLAIN._replace(min_disk=number, min_ram=number)
    assert to_catalog_image(glance_image(min_disk=amount, min_ram=amount)) == expected


@pytest.mark.parametrize("field", ["min_disk", "min_ram"])
def test_an_amount_may_be_missing(field: str) -> None:
    image = glance_image()
    del image[field]
    assert to_catalog_image(image) == PLAIN


@pytest.mark.parametrize("field", ["name", "owner", "size"])
def test_name_owner_and_size_may_be_null_or_missing(field: str) -> None:
    nothing: Any = {field: None}
    image = glance_image(name="a") | nothing
    expected = PLAIN._replace(name="a")._replace(**nothing)
    assert to_catalog_image(image) == expected
    del image[field]
    assert to_catalog_image(image) == expected


@pytest.mark.parametrize("size", [0, 2**53 - 1])
def test_the_size_is_in_bytes(size: int) -> None:
    assert to_catalog_image(glance_image(size=size)) == PLAIN._replace(size=size)


@pytest.mark.parametrize("owner", ["ABCDEF0123456789ABCDEF0123456789", "abcdef01-2345-6789-abcd-ef0123456789"])
def test_projects_are_those_of_the_catalog_however_they_are_written(owner: str) -> None:
    plain = "abcdef0123456789abcdef0123456789"
    image = glance_image(owner=owner, visibility="shared")
    expected = PLAIN._replace(owner=plain, visibility="shared", members=f'["{ME}","{plain}"]')
    assert to_catalog_image(image, [owner, ME, plain]) == expected


@pytest.mark.parametrize("visibility", ["public", "private", "shared", "community"])
def test_who_sees_it_is_glances_word(visibility: str) -> None:
    assert to_catalog_image(glance_image(visibility=visibility)) == PLAIN._replace(visibility=visibility)


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        ("2020-02-03T04:05:06Z", "2020-02-03T04:05:06Z"),
        ("2020-02-03T04:05:06.999999Z", "2020-02-03T04:05:06Z"),
        ("2020-02-03T05:05:06+01:00", "2020-02-03T04:05:06Z"),
    ],
)
def test_times_are_utc_to_the_second(time: str, utc: str) -> None:
    image = glance_image(created_at=time, updated_at=time)
    assert to_catalog_image(image) == PLAIN._replace(created=utc, updated=utc)


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
    ],
)
def test_a_property_is_an_item_of_the_metadata_which_is_text(value: Any, item: str | None) -> None:
    image = glance_image(a=value)
    assert properties(image) == {"a": item}
    assert to_catalog_image(image) == PLAIN._replace(metadata=orjson.dumps({"a": item}).decode())


@pytest.mark.parametrize("value", [[], {}, ["a"], {"a": "b"}])
def test_a_property_that_is_nested_is_left_out(value: Any) -> None:
    assert properties(glance_image(a=value, b="c")) == {"b": "c"}


def test_what_glance_itself_says_of_an_image_is_no_property() -> None:
    fields = glance_image() | OTHER_FIELDS
    assert properties(fields) == {}
    assert to_catalog_image(fields) == PLAIN
    assert [key for key in fields if not is_field(key)] == []


@pytest.mark.parametrize(
    "key", ["a", "os_distro", "Name", "locationss", "owner_specified.openstack.md5", "deleted", ""]
)
def test_all_else_is_a_property(key: str) -> None:
    assert not is_field(key)
    assert properties(glance_image() | {key: "x"}) == {key: "x"}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"id": "x"}, 'id: "x" does not match '),
        ({"id": None}, "id: null is not of type "),
        ({"name": 5}, "name: 5 is not of types "),
        ({"name": "a\0"}, r'name: "a\u0000" does not match'),
        ({"status": None}, "status: null is not "),
        ({"status": 5}, "status: 5 is not "),
        ({"status": ["active"]}, 'status: ["active"] is not '),
        ({"created_at": None}, "created: null is not of type "),
        ({"created_at": "yesterday"}, 'created: "yesterday" does not match '),
        ({"updated_at": 5}, "updated: 5 is not of type "),
        ({"updated_at": "2020-01-01T00:00:00"}, 'updated: "2020-01-01T00:00:00" does not match '),
        ({"min_disk": -1}, "minDisk: -1 is less than the minimum of 0"),
        ({"min_disk": "-1"}, 'minDisk: "-1" is not of type "integer"'),
        ({"min_ram": True}, 'minRam: true is not of type "integer"'),
        ({"min_ram": "\u0665"}, 'minRam: "\u0665" is not of type "integer"'),
        ({"min_ram": "9" * 5000}, 'minRam: "999'),
        ({"min_ram": 2**31}, "minRam: 2147483648 is greater than the maximum of 2147483647"),
        ({"size": "5"}, 'OS-EXT-IMG-SIZE:size: "5" is not of type "integer"'),
        ({"size": -1}, "OS-EXT-IMG-SIZE:size: -1 is less than the minimum of 0"),
        ({"owner": "me"}, 'owner: "me" does not match '),
        ({"visibility": None}, "visibility: null is not "),
        ({"visibility": "secret"}, 'visibility: "secret" is not one of '),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_image_that_the_contract_does_not_have_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidImageFile) as refused:
        to_catalog_image(glance_image(**fields))
    assert str(refused.value).startswith(complaint)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("image", [None, [], "x", 5, True])
def test_what_is_no_object_is_no_image(image: Any) -> None:
    with pytest.raises(InvalidImageFile, match=r"^it is no object$"):
        to_catalog_image(image)


@pytest.mark.parametrize("members", [["me"], [None], [5]])
def test_who_is_no_project_is_no_member(members: Any) -> None:
    with pytest.raises(InvalidImageFile, match=r"^members\[0\]: "):
        to_catalog_image(glance_image(), members)


@pytest.mark.parametrize(
    ("fields", "listed"),
    [
        ({}, True),
        ({"status": "queued"}, True),
        ({"status": "killed"}, True),
        ({"status": "deactivated"}, True),
        ({"status": "deleted"}, False),
        ({"status": "pending_delete"}, False),
        ({"os_hidden": True}, False),
    ],
    ids=str,
)
def test_lists_have_neither_what_is_hidden_nor_what_waits_for_its_end(fields: dict[str, Any], listed: bool) -> None:
    image = glance_image(**fields)
    assert is_visible(image, to_catalog_image(image)) is listed


def test_an_image_that_knows_nothing_of_being_hidden_is_listed() -> None:
    image = glance_image()
    del image["os_hidden"]
    assert is_visible(image, to_catalog_image(image))


def test_an_image_that_exists_is_one_that_can_be_copied() -> None:
    assert require_not_deleted(glance_image(a="b")) == to_catalog_image(glance_image(a="b"))
    for status in ("deleted", "pending_delete"):
        with pytest.raises(ImageNotFound):
            require_not_deleted(glance_image(status=status))
    others: list[Any] = [None, [], "x", glance_image(name=5)]
    for image in others:
        with pytest.raises(InvalidImageFile):
            require_not_deleted(image)


@pytest.mark.parametrize("visibility", ["public", "private", "shared", "community"])
@pytest.mark.parametrize("owner", [ME, None])
@pytest.mark.parametrize(
    "wrong", [{}, {"name": 5}, {"status": None}, {"created_at": "x", "updated_at": None}, {"min_disk": "x"}], ids=str
)
def test_whom_an_image_is_for_is_told_whatever_else_is_wrong(
    visibility: str, owner: str | None, wrong: dict[str, Any]
) -> None:
    assert access_of(glance_image(visibility=visibility, owner=owner) | wrong) == (owner, visibility)


def test_whom_an_image_is_for_is_told_in_the_catalogs_words() -> None:
    owner = "ABCDEF01-2345-6789-ABCD-EF0123456789"
    assert access_of(glance_image(owner=owner)) == ("abcdef0123456789abcdef0123456789", "public")


NOBODY_KNOWS: list[Any] = [
    None,
    [],
    "x",
    *(glance_image(**fields) for fields in ({"owner": "me"}, {"visibility": "secret"}, {"visibility": None})),
]


@pytest.mark.parametrize("image", NOBODY_KNOWS, ids=lambda image: str(image)[:40])
def test_whom_an_image_is_for_is_not_guessed(image: Any) -> None:
    assert access_of(image) is None
