"""The Python clients that ask Compute for images, as they are published, and Tempest's: what they read, and change."""

from collections.abc import Iterable
from http import HTTPStatus
from itertools import product
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from tests.integration.clients.conftest import FOREIGN, OURS, SERVER, Listing, Project
from tests.integration.clients.processes import PINS, Client, Refused
from tests.support.images import Fields

ALL = list(PINS)
CHANGING = ["novaclient", "openstacksdk", "tempest"]  # these know metadata, short lists and pages
COMPLETE = ["openstacksdk", "tempest"]  # these know filters, and each item of the metadata

METADATA = {"kept": "as it was", "changed": "before"}
NEW = {"changed": "", "new": "1"}

# What is asked of an image's metadata; what the client tells, and what there is afterwards.
REQUESTS: dict[str, tuple[list[Any], Fields, Fields]] = {
    "metadata": ([], METADATA, METADATA),
    "item": (["kept"], {"kept": "as it was"}, METADATA),
    "set_item": (["changed", "after"], {"changed": "after"}, METADATA | {"changed": "after"}),
    "update": ([NEW], METADATA | NEW, METADATA | NEW),
    "replace": ([NEW], NEW, NEW),
}

FILTERS: list[tuple[Fields, list[str | None]]] = [
    ({"name": "saving"}, ["saving"]),
    ({"name": "Saving"}, []),
    ({"status": "ERROR"}, ["error"]),
    ({"type": "SERVER"}, ["snapshot"]),
    ({"type": "snapshot"}, ["snapshot"]),
    ({"type": "BASE"}, [None, "saving", "error", "unknown"]),
    ({"type": "BASE", "status": "ACTIVE"}, [None]),
    ({"server": SERVER}, ["snapshot"]),
    ({"server": f"http://openstack.example.com/v2/openstack/servers/{SERVER}"}, ["snapshot"]),
    ({"minRam": 512}, ["snapshot"]),
    ({"minDisk": 20, "minRam": 0}, []),
    ({"changes-since": "2021-01-01T01:00:00+01:00"}, ["snapshot"]),
    ({"changes-since": "2021-01-01T00:00:01Z"}, []),
]


class Fault(NamedTuple):
    """What some clients ask for, and are told why not."""

    clients: list[str]
    operation: str
    arguments: list[Any]
    query: Fields
    status: int
    message: str

    def __str__(self) -> str:
        return f"{self.operation}-{self.status}"


_FOREIGN = f"Image '{FOREIGN}' does not belong to the project."
_NO_ITEM = "The image's metadata have no item 'nowhere'."
_NO_KEY = 'The body is wrong: metadata: "new/" does not match "^[A-Za-z0-9_:. -]{1,255}$".'
_NOT_FOUND = "Image not found."

FAULTS = [
    Fault(ALL, "show", ["nowhere"], {}, 404, _NOT_FOUND),
    Fault(ALL, "delete", ["nowhere"], {}, 404, _NOT_FOUND),
    Fault(ALL, "delete", [FOREIGN], {}, 403, _FOREIGN),
    Fault(CHANGING, "update", ["nowhere", {"new": "1"}], {}, 404, _NOT_FOUND),
    Fault(CHANGING, "update", [FOREIGN, {"new": "1"}], {}, 403, _FOREIGN),
    Fault(CHANGING, "update", [OURS, {"new/": "1"}], {}, 400, _NO_KEY),
    Fault(CHANGING, "delete_item", [OURS, "nowhere"], {}, 404, _NO_ITEM),
    Fault(COMPLETE, "item", [OURS, "nowhere"], {}, 404, _NO_ITEM),
    Fault(
        CHANGING,
        "details",
        [],
        {"limit": -1},
        400,
        "Parameter 'limit': '-1' is not a whole number from 0 to 2147483647.",
    ),
    Fault(
        CHANGING,
        "details",
        [],
        {"marker": "nowhere"},
        400,
        "Parameter 'marker': 'nowhere' is not the id of an image that openstack can see.",
    ),
    Fault(
        COMPLETE,
        "details",
        [],
        {"status": "active"},
        400,
        "Parameter 'status': 'active' is not one of ACTIVE, SAVING, DELETED, ERROR, UNKNOWN.",
    ),
]


def seen(client: Client, image: Fields) -> Fields:
    """Give what a client tells of an image."""
    match client.name:
        case "libcloud":
            unknown = {"links", "server", "OS-EXT-IMG-SIZE:size"}
            server = image.get("server", {}).get("id")
            return {name: value for name, value in image.items() if name not in unknown} | {"serverId": server}
        case "openstacksdk":
            return {name: value for name, value in image.items() if name != "server"}
    return image


def own_error(client: Client, status: int, message: str) -> tuple[str, int, str]:
    """Give the class of a client's own error for a status, with the status and what it tells."""
    phrase = HTTPStatus(status).phrase
    match client.name:
        case "libcloud":
            return "BaseHTTPError", status, f"{status} {phrase} {message}"
        case "openstacksdk":
            return f"{phrase.replace(' ', '')}Exception", status, message
    return phrase.replace(" ", ""), status, message


def listed(client: Client, operation: str, images: list[Fields]) -> list[Fields]:
    """Give what a client tells of images that it lists."""
    if operation == "list":
        return [{name: image[name] for name in ("id", "name", "links")} for image in images]
    return [seen(client, image) for image in images]


def ids(images: Iterable[Fields]) -> list[str]:
    return [image["id"] for image in images]


@pytest.mark.parametrize(
    ("client", "operation"),
    [*product(ALL, ["details"]), *product(CHANGING, ["list"])],
    indirect=["client"],
)
def test_images_are_listed(client: Client, listing: Listing, operation: str) -> None:
    assert client(listing.url, operation) == listed(client, operation, listing.images)


@pytest.mark.parametrize("client", ALL, indirect=True)
def test_an_image_is_shown(client: Client, listing: Listing) -> None:
    shown = [client(listing.url, "show", image["id"]) for image in listing.images]
    assert shown == [seen(client, image) for image in listing.images]


@pytest.mark.parametrize("client", ["libcloud"], indirect=True)
def test_libcloud_leaves_out_what_cannot_be_used(client: Client, kinds: Listing) -> None:
    assert [image["name"] for image in client(kinds.url, "active")] == ["snapshot", None]


@pytest.mark.parametrize("client", ["novaclient", "openstacksdk"], indirect=True)
@pytest.mark.parametrize(("name", "count"), [("fakeimage7", 1), ("nowhere", 0)])
def test_an_image_is_found_by_its_name(client: Client, sample: Listing, name: str, count: int) -> None:
    assert ids(client(sample.url, "find", name)) == ids(sample.images)[:count]


@pytest.mark.parametrize("client", COMPLETE, indirect=True)
@pytest.mark.parametrize("operation", ["list", "details"])
@pytest.mark.parametrize(("query", "names"), FILTERS, ids=[urlencode(query) for query, _ in FILTERS])
def test_images_are_filtered(
    client: Client, kinds: Listing, operation: str, query: Fields, names: list[str | None]
) -> None:
    assert [image["name"] for image in client(kinds.url, operation, **query)] == names


@pytest.mark.parametrize(
    ("client", "operation", "query", "last"),
    [
        ("libcloud", "details", {}, 3),  # it knows no pages
        ("novaclient", "details", {}, 3),
        ("novaclient", "list", {"limit": 2}, 2),
        ("novaclient", "pages", {"limit": 2}, 7),
        ("openstacksdk", "details", {}, 7),  # it follows the links
        ("openstacksdk", "details", {"limit": 2}, 7),
        ("openstacksdk", "list", {}, 7),
        ("openstacksdk", "details", {"limit": 2, "paginated": False}, 2),
        ("tempest", "details", {}, 3),
        ("tempest", "list", {"limit": 2}, 2),
        ("tempest", "pages", {}, 7),
        ("tempest", "pages", {"limit": 2}, 7),
    ],
    indirect=["client"],
)
def test_pages_are_read_until_the_last(
    client: Client, small_pages: Listing, operation: str, query: Fields, last: int
) -> None:
    images = listed(client, operation, small_pages.images[:last])
    assert client(small_pages.url, operation, **query) == images


@pytest.mark.parametrize(
    ("client", "operation"), [("openstacksdk", "details"), ("tempest", "pages")], indirect=["client"]
)
def test_pages_keep_their_filters(client: Client, small_pages: Listing, operation: str) -> None:
    name = "fakeimage123456"
    named = [image for image in small_pages.images if image["name"] == name]
    assert small_pages.images.index(named[2]) > 2  # one of another name comes after the first two
    assert ids(client(small_pages.url, operation, name=name, limit=2)) == ids(named)


@pytest.mark.parametrize("client", CHANGING, indirect=True)
def test_what_comes_after_an_image_is_read(client: Client, sample: Listing) -> None:
    assert ids(client(sample.url, "details", marker=sample.images[4]["id"])) == ids(sample.images[5:])


@pytest.mark.parametrize("client", ALL, indirect=True)
def test_an_image_is_deleted(client: Client, project: Project) -> None:
    kept, deleted = project.add(), project.add()
    client(project.url, "delete", deleted["id"])
    assert ids(client(project.url, "details")) == [kept["id"]]
    for operation in ("show", "delete"):
        with pytest.raises(Refused) as refused:
            client(project.url, operation, deleted["id"])
        assert refused.value.args == own_error(client, 404, "Image not found.")


@pytest.mark.parametrize("client", COMPLETE, indirect=True)
def test_who_asks_for_changes_sees_what_was_deleted(client: Client, project: Project) -> None:
    project.add()
    deleted = project.add(metadata=METADATA)
    client(project.url, "delete", deleted["id"])
    (tombstone,) = client(project.url, "details", **{"changes-since": "2020-01-01T00:00:01Z"})
    assert tombstone == deleted | {"status": "DELETED", "progress": 0, "updated": tombstone["updated"]}


@pytest.mark.parametrize(
    ("client", "operation"), [("novaclient", "update"), *product(COMPLETE, REQUESTS)], indirect=["client"]
)
def test_metadata_are_read_and_changed(client: Client, project: Project, operation: str) -> None:
    arguments, told, afterwards = REQUESTS[operation]
    image = project.add(metadata=METADATA)["id"]
    assert client(project.url, operation, image, *arguments) == told
    assert client(project.url, "show", image)["metadata"] == afterwards


@pytest.mark.parametrize("client", CHANGING, indirect=True)
def test_an_item_of_the_metadata_is_deleted(client: Client, project: Project) -> None:
    image = project.add(metadata=METADATA)["id"]
    client(project.url, "delete_item", image, "changed")
    assert client(project.url, "show", image)["metadata"] == {"kept": "as it was"}


@pytest.mark.parametrize(
    ("client", "fault"),
    [pytest.param(name, fault, id=f"{name}-{fault}") for fault in FAULTS for name in fault.clients],
    indirect=["client"],
)
def test_a_fault_is_the_clients_own_error(client: Client, openstack: str, fault: Fault) -> None:
    with pytest.raises(Refused) as refused:
        client(openstack, fault.operation, *fault.arguments, **fault.query)
    assert refused.value.args == own_error(client, fault.status, fault.message)


@pytest.mark.parametrize("client", ALL, indirect=True)
def test_a_project_that_cannot_be_is_the_clients_own_error(client: Client, sample: Listing) -> None:
    with pytest.raises(Refused) as refused:
        client(sample.url.replace("openstack", "nonsense"), "details")
    message = "Parameter 'tenant_id': 'nonsense' is not a UUID, with or without dashes, or the word openstack."
    assert refused.value.args == own_error(client, 400, message)


@pytest.mark.parametrize("client", ["openstacksdk"], indirect=True)
@pytest.mark.parametrize("path", ["", "/v2", "/v2/"])
def test_the_version_is_discovered(client: Client, sample: Listing, path: str) -> None:
    origin = sample.url.removesuffix("/v2/openstack")
    version = {"version": [2, 0], "url": f"{origin}/v2/", "status": "CURRENT"}
    assert client(sample.url, "versions", origin + path) == [version]
