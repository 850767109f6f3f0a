"""Image files: the forms of documents and images that are read, and the messages about all others."""

from typing import Any

import orjson
import pytest

from app.catalog.documents import InvalidImageFile, dump_images, parse_image
from app.catalog.image_files import ImageFileReader, ImageFiles, InvalidImageFiles
from app.catalog.image_forms import similar_field
from app.mirror.mapping import to_catalog_image, to_file_image
from tests.support.fake_glance import glance_image
from tests.support.images import Fields, file_of, image, image_id, stored_images
from tests.support.projects import OTHER_PROJECT, PROJECT

LINK = {"rel": "self", "href": "http://a.test"}
NEXT = {"rel": "next", "href": "http://a.test/images?marker=1"}
HEX, DASHED = "abcdef0123456789abcdef0123456789", "abcdef01-2345-6789-abcd-ef0123456789"
MISSING = object()  # the value of a field that the image lacks


def read(*contents: Any, owner: str | None = None, strict: bool = False) -> ImageFiles:
    """Read up to three files, named a, b and c. Each is given as bytes, or as the document that it contains."""
    files = [each if isinstance(each, bytes) else orjson.dumps(each) for each in contents]
    reader = ImageFileReader(owner=owner, visibility="public", strict=strict, from_glance=to_file_image)
    return reader.read(zip("abc", files, strict=False))


def errors(*contents: Any, **options: Any) -> list[str]:
    with pytest.raises(InvalidImageFiles) as raised:
        read(*contents, **options)
    return raised.value.lines


def changed(**fields: Any) -> Fields:
    return {name: value for name, value in image(1, **fields).items() if value is not MISSING}


def statuses(status: str, progress: int, *names: str) -> list[tuple[Fields, Fields]]:
    return [({"status": name, "progress": MISSING}, {"status": status, "progress": progress}) for name in names]


def times(utc: str, *texts: str) -> list[tuple[Fields, Fields]]:
    return [({"created": text, "updated": text}, {"created": utc, "updated": utc}) for text in texts]


FORMS: list[tuple[Fields, Fields]] = [
    (
        {"metadata": {"a": True, "b": 3, "c": 1.0, "d": None}},
        {"metadata": {"a": "True", "b": "3", "c": "1.0", "d": None}},
    ),
    ({"metadata": {"a": [{"b": "é", "c": 1}], "d": {}}}, {"metadata": {"a": '[{"b":"é","c":1}]', "d": "{}"}}),
    *(({"metadata": value}, {}) for value in (MISSING, None)),
    *(({"minDisk": value, "minRam": value, "name": value}, {}) for value in (MISSING, None)),
    ({"minDisk": "5", "minRam": "256"}, {"minDisk": 5, "minRam": 256}),
    ({"minDisk": 20.0, "progress": "99"}, {"minDisk": 20, "progress": 99}),
    ({"OS-EXT-IMG-SIZE:size": "9007199254740991"}, {"OS-EXT-IMG-SIZE:size": 2**53 - 1}),
    *(({"OS-EXT-IMG-SIZE:size": value, "server": value, "members": value}, {}) for value in (MISSING, None)),
    *statuses("ACTIVE", 100, "ACTIVE", "active", "Active"),
    *statuses("SAVING", 25, "queued", "QUEUED"),
    *statuses("SAVING", 50, "SAVING", "saving"),
    *statuses("ERROR", 0, "ERROR", "error", "killed"),
    *statuses("DELETED", 0, "deleted", "pending_delete"),
    *statuses("UNKNOWN", 0, "UNKNOWN", "unknown", "deactivated", "IMPORTING", "uploading"),
    ({"status": "QUEUED", "progress": 0}, {"status": "SAVING", "progress": 0}),
    ({"status": "SAVING", "progress": None}, {"status": "SAVING", "progress": 50}),
    *times("2012-02-13T15:42:22Z", "2012-02-13T09:42:22-06:00", "2012-02-13T15:42:22.999999Z", "2012-02-13t15:42:22z"),
    *times("2012-02-13T15:42:22Z", "2012-02-13T15:42:22", "2012-02-13 15:42:22", "2012-02-13T15:42:22.5+0000"),
    *times("2012-02-13T15:42:00Z", "2012-02-13T15:42Z"),
    *times("1972-01-01T15:59:11Z", "1972-01-01_15-59-11"),
    *(({"id": value}, {"id": DASHED}) for value in (DASHED.upper(), HEX, HEX.upper())),
    *(({"owner": value}, {}) for value in (None, "")),
    ({"owner": HEX.upper()}, {"owner": HEX}),
    ({"server": {"id": "s"}}, {"metadata": {"instance_uuid": "s"}}),
    ({"server": {"id": "s", "links": [LINK], "name": "web"}}, {"metadata": {"instance_uuid": "s"}}),
    ({"server": {}, "links": []}, {}),
    ({"OS-DCF:diskConfig": "AUTO", "fault": {"code": 500}, "serverId": None}, {}),
]


@pytest.mark.parametrize(("fields", "expected"), FORMS, ids=str)
def test_image_is_converted(fields: Fields, expected: Fields) -> None:
    assert read({"images": [changed(**fields)]}).images == stored_images(image(1, **expected))


GLANCE_LIST = {"images": [glance_image(1)], "first": "/v2/images", "schema": "/v2/schemas/images"}
DOCUMENTS: list[Any] = [
    {"images": [image(1)]},
    {"image": image(1)},
    [image(1)],
    image(1),
    [{"images": []}, {"images": [image(1)]}],
    b"\xef\xbb\xbf" + file_of(image(1)),
    b" \n" + file_of(image(1)),
    b'{"images": [],' + file_of(image(1))[1:],  # the last of repeated keys counts
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: str(each)[:30])
def test_document_is_recognized(document: Any) -> None:
    assert read(document).images == stored_images(image(1))


@pytest.mark.parametrize("document", [GLANCE_LIST, glance_image(1), [glance_image(1)]], ids=lambda each: str(each)[:30])
def test_glance_image_is_converted_as_by_the_mirror(document: Any) -> None:
    assert read(document).images == [to_catalog_image(glance_image(1))]


def test_glance_image_keeps_its_owner_visibility_and_nested_properties() -> None:
    fields = glance_image(1, owner=PROJECT, visibility="private", created="x", mappings=[{"device": "sda1"}])
    (stored,) = read({"images": [fields]}, owner=OTHER_PROJECT).images
    assert (stored.owner, stored.visibility) == (PROJECT, "private")
    assert stored.metadata == '{"created":"x","mappings":"[{\\"device\\":\\"sda1\\"}]"}'


def test_parts_of_a_glance_image_that_the_mirror_omits_are_left_out_and_rejected_by_strict() -> None:
    fields = glance_image(1, size=2**60, owner="a/b", name="a\0")
    document = orjson.dumps(fields)[:-1] + b',"deep":' + nested(300) + b"}"
    content = read(document)
    assert content.images == [to_catalog_image(fields)]
    assert content.left_out == {"deep": 1, "size": 1, "owner": 1, "name": 1}
    place = f"a, image 1 (id '{image_id(1)}')"
    assert errors(document, strict=True) == [
        f"{place}: the too deeply nested property 'deep' cannot be stored",
        f"{place}: the size '{2**60}' cannot be stored",
        f"{place}: the owner 'a/b' cannot be stored",
        rf"{place}: the NUL characters of the name 'a\x00' cannot be stored",
        "4 errors; nothing was imported",
    ]


def test_hidden_glance_image_stays_hidden() -> None:
    content = read({"images": [glance_image(1, os_hidden=True), glance_image(2)]})
    assert [each.hidden for each in content.images] == [True, False]


def test_export_is_read_as_it_was() -> None:
    images = stored_images(image(1, owner=PROJECT, visibility="shared", members=[HEX]), image(2, status="DELETED"))
    content = read(b"".join(dump_images(images)))
    assert content == ImageFiles(images)


EXTRAS = {"tenant_id": "x", "server": {"id": "s", "name": "web"}}


def test_fields_that_are_left_out_are_counted() -> None:
    content = read({"images": [image(1, **EXTRAS), image(2, tenant_id=None, links=[LINK])]})
    assert content.left_out == {"tenant_id": 2, "server.name": 1}


@pytest.mark.parametrize("strict", [True, False])
def test_links_and_glances_own_properties_are_ignored(strict: bool) -> None:
    assert read(glance_image(1), {"image": image(2, minDisk=None, links=[LINK])}, strict=strict).left_out == {}


def test_strict_rejects_fields_that_would_be_left_out() -> None:
    place = f"a, image 1 (id '{image_id(1)}')"
    assert errors({"images": [image(1, **EXTRAS)]}, strict=True) == [
        f"{place}: 'tenant_id' is not a field of image files",
        f"{place}: 'server.name' is not a field of image files",
        "2 errors; nothing was imported",
    ]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *[("Name", "name"), ("min_ram", "minRam"), ("mindisk", "minDisk"), ("visibilty", "visibility")],
        *[("os_hiden", "os_hidden"), ("member", "members"), ("Pending-Members", "pending_members")],
        *[(name, None) for name in ("name", "tenant_id", "OS-DCF:diskConfig", "user_id", "server.ids", "x" * 100_000)],
    ],
)
def test_misspelt_name_is_similar_to_the_field_that_it_is_meant_for(name: str, field: str | None) -> None:
    assert similar_field(name) == field


TIME, NUMBER = "a time such as 2011-01-01T01:02:03Z", "a whole number from 0 to 2147483647"
STATUS = "one of ACTIVE, SAVING, DELETED, ERROR, UNKNOWN"
INVALID_IMAGES: list[tuple[Fields, str]] = [
    ({"id": 1361}, "id: 1361 is not a UUID"),
    ({"id": "1361"}, 'id: "1361" is not a UUID'),
    ({"id": f"{{{DASHED}}}"}, f'id: "{{{DASHED}}}" is not a UUID'),
    ({"id": MISSING}, "id is missing; expected a UUID"),
    ({"status": "BUILD"}, f'status: "BUILD" is not {STATUS}'),
    ({"status": None}, f"status: null is not {STATUS}"),
    ({"minDisk": "-1"}, f'minDisk: "-1" is not {NUMBER}'),
    ({"minDisk": 1.5}, f"minDisk: 1.5 is not {NUMBER}"),
    ({"minRam": True}, f"minRam: true is not {NUMBER}"),
    ({"minRam": 2**31}, f"minRam: 2147483648 is not {NUMBER}"),
    ({"minRam": 1e300}, f"minRam: 1e+300 is not {NUMBER}"),
    ({"minRam": "9" * 5000}, f'minRam: "{"9" * 99}… is not {NUMBER}'),
    ({"progress": 101}, "progress: 101 is not a whole number from 0 to 100"),
    ({"OS-EXT-IMG-SIZE:size": 2**63}, f"OS-EXT-IMG-SIZE:size: {2**63} is not a whole number from 0 to {2**53 - 1}"),
    ({"metadata": [1]}, "metadata: [1] is not of type object"),
    ({"created": None}, f"created: null is not {TIME}"),
    ({"created": "yesterday"}, f'created: "yesterday" is not {TIME}'),
    ({"updated": 1329147742}, f"updated: 1329147742 is not {TIME}"),
    ({"updated": "2012-02-30T00:00:00Z"}, f'updated: "2012-02-30T00:00:00Z" is not {TIME}'),
    ({"owner": "m/e"}, 'owner: "m/e" is not '),
    ({"visibility": "secret"}, 'visibility: "secret" is not one of public, private, shared, community'),
    ({"visibility": None}, "visibility: null is not one of public, private, shared, community"),
    ({"members": "me"}, 'members: "me" is not of type array'),
    ({"members": [HEX, "m/e"]}, 'members[1]: "m/e" is not '),
    ({"name": "a\0"}, r'name: "a\u0000" is not text without the character NUL, or null'),
    ({"status": "\u202e"}, rf'status: "{chr(92)}u202e" is not {STATUS}'),
    ({"server": {"links": []}}, 'server: {"links": []} is not an object with id'),
    ({"server": {"id": ""}}, 'server.id: "" is not text of at least one character'),
    (
        {"server": {"id": "s"}, "metadata": {"instance_uuid": "t"}},
        "server.id differs from the metadata item instance_uuid",
    ),
]


@pytest.mark.parametrize(("fields", "message"), INVALID_IMAGES, ids=lambda each: str(each)[:50])
def test_invalid_image_is_named_with_its_field_and_what_is_accepted(fields: Fields, message: str) -> None:
    invalid = changed(**fields)
    (line,) = errors({"images": [image(2), invalid]})
    place = f" (id '{invalid['id']}')" if isinstance(invalid.get("id"), str) else ""
    assert line.startswith(f"a, image 2{place}: {message}")
    assert line.isprintable()


def test_parsing_an_image_accepts_the_form_of_image_files_only() -> None:
    with pytest.raises(InvalidImageFile, match=r"^'colour' is not a field of image files$"):
        parse_image(image(1, visibility="public", colour="red"))


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


NO_IMAGES = 'it contains no images; accepted are {"images": [...]}, {"image": {...}}, an array of images, and one image'
SHORT_LIST = "it is a list without details; a response of /images/detail has the details"
NOT_IMAGES: list[Any] = [{}, 5, "x", {"images": {}}, {"image": []}, {"servers": []}]
INVALID_FILES: list[tuple[Any, str]] = [
    (b"", "a: it is not JSON: "),
    (b'{"images": [', "a: it is not JSON: "),
    (b'{"images": [{"id": NaN}]}', "a: it is not JSON: "),
    (b'{"images": [{"minRam": 1e999}]}', "a: it is not JSON: "),
    (b'{"images": [{"name": "\\ud800"}]}', "a: it is not JSON: "),
    (nested(2000), "a: it is not JSON: "),
    (b"\xff\xfe", "a: it must be UTF-8, and is UTF-16"),
    ('{"images": []}'.encode("utf-16-be"), "a: it must be UTF-8, and is UTF-16-BE"),
    ('{"images": []}'.encode("utf-32"), "a: it must be UTF-8, and is UTF-32"),
    ('{"image": "Café"}'.encode("latin-1"), "a: it must be UTF-8, and byte 14 (0xe9) is not"),
    (b"\x1f\x8b\x08\x00", "a: it must be UTF-8, and "),
    *((document, f"a: {NO_IMAGES}") for document in NOT_IMAGES),
    ([{"images": []}, 5], f"a: {NO_IMAGES}"),
    ({"images": [1]}, "a, image 1: it is not an object"),
    ({"images": [{"id": image_id(1), "name": "x", "links": [LINK]}]}, f"a: {SHORT_LIST}"),
    ({"image": {"id": image_id(1), "name": "x", "links": []}}, f"a: {SHORT_LIST}"),
    (b'{"images": [{"metadata": {"a": ' + nested(300) + b"}}]}", "a, image 1: metadata is nested too deeply"),
]


@pytest.mark.parametrize(("document", "message"), INVALID_FILES, ids=lambda each: str(each)[:50])
def test_invalid_file_is_explained_in_one_line(document: Any, message: str) -> None:
    (line,) = errors(document)
    assert line.startswith(message)
    assert line.isprintable()


def test_value_that_is_nested_too_deeply_is_rejected() -> None:
    deep = file_of(image(1)).replace(b'"name":null', b'"name":' + nested(300))
    assert errors(deep) == [f"a, image 1 (id '{image_id(1)}'): name is nested too deeply"]


def test_glance_image_without_a_visibility_does_not_become_public() -> None:
    (line,) = errors(glance_image(1, visibility=None, is_public=False))
    assert line.endswith("visibility: null is not one of public, private, shared, community")


def test_all_errors_of_all_files_are_counted_and_the_first_ten_are_shown() -> None:
    invalid = [image(number, minDisk=-1, status="x") for number in range(1, 5)]
    assert len(errors({"images": invalid})) == 9
    lines = errors({"images": invalid}, b"{", {"images": [*invalid, image(5)]})
    assert len(lines) == 11
    assert lines[8].startswith("b: it is not JSON")
    assert lines[10] == "17 errors, of which the first 10 are shown; nothing was imported"


def test_repeated_image_is_rejected_with_both_places() -> None:
    upper = image(1) | {"id": DASHED.upper()}
    assert errors({"images": [image(1) | {"id": DASHED}]}, {"images": [image(2), upper]}) == [
        f"b, image 2 (id '{DASHED.upper()}'): duplicate id, already in a, image 1"
    ]


PAGE = {"images": [image(1)], "images_links": [NEXT]}
LAST_PAGE = {"images": [image(2)], "images_links": [{"rel": "previous", "href": "http://a.test"}]}
MALFORMED_LINKS: list[Any] = ["more", 5, {"next": "x"}, ["x"], [{}]]
MALFORMED_PAGES = [{"images": [image(2)], "images_links": links} for links in MALFORMED_LINKS]
GLANCE_PAGE = {"images": [glance_image(2)], "next": "/v2/images?marker=1"}
NEWER = "2020-01-01T00:00:01Z"
A_PAGE, B_PAGE, C_PAGE = (f"{name} links to another page of its list" for name in "abc")


@pytest.mark.parametrize(
    ("contents", "part", "unfinished"),
    [
        ([{"images": [image(1)]}, [image(2)]], None, ""),
        ([{"images": [], "images_links": [], "next": None}], None, ""),
        ([PAGE], A_PAGE, "a"),
        ([GLANCE_PAGE], A_PAGE, "a"),
        *(([page], A_PAGE, "a") for page in MALFORMED_PAGES),
        ([PAGE, {"images": [image(2)]}], A_PAGE, ""),
        ([PAGE, LAST_PAGE], B_PAGE, ""),
        ([LAST_PAGE, PAGE], B_PAGE, ""),
        ([PAGE, GLANCE_PAGE], B_PAGE, "b"),
        ([PAGE, {"images": [image(2, created=NEWER)]}], A_PAGE, "a"),
        ([{"images": [image(2, created=NEWER), image(3)]}, PAGE], B_PAGE, "b"),
        ([GLANCE_PAGE, PAGE | {"images": [image(1, created=NEWER)]}, LAST_PAGE | {"images": []}], C_PAGE, ""),
        ([[PAGE, {"images": []}]], A_PAGE, ""),
        ([PAGE, {"image": image(2)}], "b has a single image", "a"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_files_that_may_be_a_part_of_a_list_are_recognized(
    contents: list[Any], part: str | None, unfinished: str
) -> None:
    content = read(*contents)
    assert (content.part, content.unfinished) == (part, list(unfinished))
