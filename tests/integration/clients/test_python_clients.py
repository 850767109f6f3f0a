"""Published Python clients of the Compute images API, and Tempest's, against the running service."""

from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from itertools import product
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from tests.integration.clients.conftest import FOREIGN, OWN, SERVER, Listing, Project
from tests.integration.clients.processes import (
    EARLIER_CLIENTS,
    EARLIER_SDKS,
    PACKAGES,
    PINS,
    Client,
    ClientError,
    installed,
)
from tests.support.images import Fields

pytestmark = pytest.mark.external(install=[partial(installed, name) for name in PACKAGES])

ALL = list(PINS)
WITH_METADATA = ["novaclient", "openstacksdk", "tempest"]  # support metadata, short lists and pages
COMPLETE = ["openstacksdk", "tempest"]  # support filters and metadata items, too

METADATA = {"unchanged": "x", "changed": "before"}
NEW = {"changed": "", "new": "1"}

# Operation on the metadata: its arguments, its result, and the metadata afterwards.
REQUESTS: dict[str, tuple[list[Any], Fields, Fields]] = {
    "metadata": ([], METADATA, METADATA),
    "item": (["unchanged"], {"unchanged": "x"}, METADATA),
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
    """A call that fails, and the clients that support it."""

    clients: list[str]
    operation: str
    arguments: list[Any]
    query: Fields
    status: int
    message: str

    def __str__(self) -> str:
        return f"{self.operation}-{self.status}"


_FOREIGN = f"Image '{FOREIGN}' does not belong to the project."
_NO_ITEM = "The image has no metadata item 'nowhere'."
_NO_KEY = 'Invalid request body: metadata: "new/" does not match "^[A-Za-z0-9_:. -]{1,255}$".'
_NOT_FOUND = "Image not found."
_NO_LIMIT = "Parameter 'limit': '-1' is not a whole number from 0 to 2147483647."
_NO_MARKER = "Parameter 'marker': 'nowhere' is not the id of an image that openstack can see."
_NO_STATUS = "Parameter 'status': 'queued' is not one of ACTIVE, SAVING, DELETED, ERROR, UNKNOWN."

FAULTS = [
    Fault(ALL, "show", ["nowhere"], {}, 404, _NOT_FOUND),
    Fault(ALL, "delete", ["nowhere"], {}, 404, _NOT_FOUND),
    Fault(ALL, "delete", [FOREIGN], {}, 403, _FOREIGN),
    Fault(WITH_METADATA, "update", ["nowhere", {"new": "1"}], {}, 404, _NOT_FOUND),
    Fault(WITH_METADATA, "update", [FOREIGN, {"new": "1"}], {}, 403, _FOREIGN),
    Fault(WITH_METADATA, "update", [OWN, {"new/": "1"}], {}, 400, _NO_KEY),
    Fault(WITH_METADATA, "delete_item", [OWN, "nowhere"], {}, 404, _NO_ITEM),
    Fault(COMPLETE, "item", [OWN, "nowhere"], {}, 404, _NO_ITEM),
    Fault(WITH_METADATA, "details", [], {"limit": -1}, 400, _NO_LIMIT),
    Fault(WITH_METADATA, "details", [], {"marker": "nowhere"}, 400, _NO_MARKER),
    Fault(COMPLETE, "details", [], {"status": "queued"}, 400, _NO_STATUS),
]


def client_image(client: Client, image: Fields) -> Fields:
    match client.name:
        case "libcloud":
            unknown = {"links", "server", "OS-EXT-IMG-SIZE:size"}
            server = image.get("server", {}).get("id")
            return {name: value for name, value in image.items() if name not in unknown} | {"serverId": server}
        case "openstacksdk":
            return {name: value for name, value in image.items() if name != "server"}
    return image


def expected_error(client: Client, status: int, message: str) -> tuple[str, int, str]:
    """Return the client's exception for a status: class, status and message."""
    phrase = HTTPStatus(status).phrase
    match client.name:
        case "libcloud":
            return "BaseHTTPError", status, f"{status} {phrase} {message}"
        case "openstacksdk":
            return f"{phrase.replace(' ', '')}Exception", status, message
    return phrase.replace(" ", ""), status, message


def listed(client: Client, operation: str, images: list[Fields]) -> list[Fields]:
    if operation == "list":
        return [{name: image[name] for name in ("id", "name", "links")} for image in images]
    return [client_image(client, image) for image in images]


def ids(images: Iterable[Fields]) -> list[str]:
    return [image["id"] for image in images]


@pytest.mark.parametrize(
    ("client", "operation"), [*product(ALL, ["details"]), *product(WITH_METADATA, ["list"])], indirect=["client"]
)
def test_images_are_listed(client: Client, listing: Listing, operation: str) -> None:
    assert client(listing.url, operation) == listed(client, operation, listing.images)


@pytest.mark.parametrize("client", ALL, indirect=True)
def test_image_is_shown(client: Client, listing: Listing) -> None:
    shown = [client(listing.url, "show", image["id"]) for image in listing.images]
    assert shown == [client_image(client, image) for image in listing.images]


@pytest.mark.parametrize("client", ["libcloud"], indirect=True)
def test_libcloud_can_list_active_images_only(client: Client, various_images: Listing) -> None:
    assert [image["name"] for image in client(various_images.url, "active")] == ["snapshot", None]


@pytest.mark.parametrize("client", ["novaclient", "openstacksdk"], indirect=True)
@pytest.mark.parametrize(("name", "count"), [("fakeimage7", 1), ("nowhere", 0)])
def test_image_is_found_by_name(client: Client, sample: Listing, name: str, count: int) -> None:
    assert ids(client(sample.url, "find", name)) == ids(sample.images)[:count]


@pytest.mark.parametrize("client", COMPLETE, indirect=True)
@pytest.mark.parametrize("operation", ["list", "details"])
@pytest.mark.parametrize(("query", "names"), FILTERS, ids=[urlencode(query) for query, _ in FILTERS])
def test_images_are_filtered(
    client: Client, various_images: Listing, operation: str, query: Fields, names: list[str | None]
) -> None:
    assert [image["name"] for image in client(various_images.url, operation, **query)] == names


@pytest.mark.parametrize(
    ("client", "operation", "query", "last"),
    [
        ("libcloud", "details", {}, 3),  # does not support paging
        ("novaclient", "details", {}, 3),
        ("novaclient", "list", {"limit": 2}, 2),
        ("novaclient", "pages", {"limit": 2}, 7),
        ("openstacksdk", "details", {}, 7),  # follows the links to the next page
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
def test_all_pages_are_read(client: Client, small_pages: Listing, operation: str, query: Fields, last: int) -> None:
    images = listed(client, operation, small_pages.images[:last])
    assert client(small_pages.url, operation, **query) == images


@pytest.mark.parametrize("client", EARLIER_SDKS, indirect=True)
@pytest.mark.parametrize(
    ("many", "query"),
    [("reject", {}), ("reject", {"status": "ACTIVE", "minRam": 0}), ("ignore", {"limit": 300})],
    indirect=["many"],
)
def test_earlier_sdk_reads_all_pages(client: Client, many: Listing, query: Fields) -> None:
    """It adds its query to the link to the next page. With a limit, it also repeats the marker, with another value."""
    assert client(many.url, "ids", **query) == ids(many.images)


@pytest.mark.parametrize("client", EARLIER_CLIENTS, indirect=True)
def test_earlier_client_lists_shows_and_deletes_images(client: Client, project: Project) -> None:
    image, other = project.add(name="image", metadata=METADATA), project.add()
    assert client(project.url, "details") == [client_image(client, image), client_image(client, other)]
    assert client(project.url, "show", image["id"]) == client_image(client, image)
    client(project.url, "delete", image["id"])
    assert ids(client(project.url, "details")) == [other["id"]]


@pytest.mark.parametrize(
    ("client", "operation"), [("openstacksdk", "details"), ("tempest", "pages")], indirect=["client"]
)
def test_pages_keep_their_filters(client: Client, small_pages: Listing, operation: str) -> None:
    name = "fakeimage123456"
    named = [image for image in small_pages.images if image["name"] == name]
    assert small_pages.images.index(named[2]) > 2  # one of another name comes after the first two
    assert ids(client(small_pages.url, operation, name=name, limit=2)) == ids(named)


@pytest.mark.parametrize("client", WITH_METADATA, indirect=True)
def test_marker_selects_images_after_it(client: Client, sample: Listing) -> None:
    assert ids(client(sample.url, "details", marker=sample.images[4]["id"])) == ids(sample.images[5:])


@pytest.mark.parametrize("client", ALL, indirect=True)
def test_image_is_deleted(client: Client, project: Project) -> None:
    other, deleted = project.add(), project.add()
    client(project.url, "delete", deleted["id"])
    assert ids(client(project.url, "details")) == [other["id"]]
    for operation in ("show", "delete"):
        with pytest.raises(ClientError) as raised:
            client(project.url, operation, deleted["id"])
        assert raised.value.args == expected_error(client, 404, "Image not found.")


@pytest.mark.parametrize("client", COMPLETE, indirect=True)
def test_changes_since_includes_deleted_images(client: Client, project: Project) -> None:
    project.add()
    deleted = project.add(metadata=METADATA)
    client(project.url, "delete", deleted["id"])
    (tombstone,) = client(project.url, "details", **{"changes-since": "2020-01-01T00:00:01Z"})
    assert tombstone == deleted | {"status": "DELETED", "progress": 0, "updated": tombstone["updated"]}


@pytest.mark.parametrize(
    ("client", "operation"), [("novaclient", "update"), *product(COMPLETE, REQUESTS)], indirect=["client"]
)
def test_metadata_are_read_and_changed(client: Client, project: Project, operation: str) -> None:
    arguments, result, afterwards = REQUESTS[operation]
    image = project.add(metadata=METADATA)["id"]
    assert client(project.url, operation, image, *arguments) == result
    assert client(project.url, "show", image)["metadata"] == afterwards


@pytest.mark.parametrize("client", WITH_METADATA, indirect=True)
def test_metadata_item_is_deleted(client: Client, project: Project) -> None:
    image = project.add(metadata=METADATA)["id"]
    client(project.url, "delete_item", image, "changed")
    assert client(project.url, "show", image)["metadata"] == {"unchanged": "x"}


@pytest.mark.parametrize(
    ("client", "fault"),
    [pytest.param(name, fault, id=f"{name}-{fault}") for fault in FAULTS for name in fault.clients],
    indirect=["client"],
)
def test_fault_raises_the_clients_exception(client: Client, openstack: str, fault: Fault) -> None:
    with pytest.raises(ClientError) as raised:
        client(openstack, fault.operation, *fault.arguments, **fault.query)
    assert raised.value.args == expected_error(client, fault.status, fault.message)


@pytest.mark.parametrize("client", ALL, indirect=True)
def test_invalid_project_raises_the_clients_exception(client: Client, sample: Listing) -> None:
    with pytest.raises(ClientError) as raised:
        client(sample.url.replace("openstack", "x" * 65), "details")
    message = (
        f"Parameter 'tenant_id': '{'x' * 65}' is not a project id: "
        "1 to 64 characters without '/', '?', '#' and control characters, but not '.' or '..'."
    )
    assert raised.value.args == expected_error(client, 400, message)


@pytest.mark.parametrize("client", ["openstacksdk"], indirect=True)
@pytest.mark.parametrize("path", ["", "/v2", "/v2/"])
def test_version_is_discovered(client: Client, sample: Listing, path: str) -> None:
    origin = sample.url.removesuffix("/v2/openstack")
    version = {"version": [2, 0], "url": f"{origin}/v2/", "status": "CURRENT"}
    assert client(sample.url, "versions", origin + path) == [version]
