"""The lists of images: responses, links, paging, filters, and invalid requests."""

from urllib.parse import quote, unquote

import orjson
import pytest
from starlette.testclient import TestClient

from app.catalog.engines import open_catalog
from app.catalog.transfer import import_images
from app.resources import resource_path
from tests.conftest import Serve
from tests.support.catalogs import execute
from tests.support.images import catalog_at, image, stored_images
from tests.support.projects import LIST_URL

FIRST = "70a599e0-31e7-49b7-b260-868f441e862b"

TYPES = "BASE, SERVER, ALL, snapshot, backup"
STATUSES = "ACTIVE, SAVING, DELETED, ERROR, UNKNOWN"
KNOWN = "changes-since, limit, marker, minDisk, minRam, name, server, status, type"
A_TIME = "an RFC 3339 date and time with a UTC offset, such as 2011-01-24T17:08:00Z, or a date"
A_PROJECT_ID = "a project id: 1 to 64 characters without '/', '?', '#' and control characters, but not '.' or '..'"
NO_NUL = "text without NUL characters"


def ids(client: TestClient, url: str) -> list[str]:
    response = client.get(url)
    assert response.status_code == 200, response.text
    return [image["id"] for image in response.json()["images"]]


def test_first_documented_response_is_reproduced(serve: Serve, sample_catalog: str) -> None:
    client = serve(
        sample_catalog,
        compute_url="http://openstack.example.com",
        glance_url="http://glance.openstack.example.com",
    )
    assert client.get(LIST_URL).json() == orjson.loads(resource_path("data/list-images-details.json").read_bytes())


def test_second_documented_response_is_reproduced(serve: Serve, location: str) -> None:
    file = resource_path("data/failed-replication.json")
    images = stored_images(*orjson.loads(file.read_bytes())["images"])
    import_images(open_catalog(location), images, tombstone_days=30)
    client = serve(location, compute_url="http://10.3.0.201", glance_url="http://10.3.0.119:9292")
    response = client.get("/v2/776a290892b747c4af8cec5d0e9b3a71/images/detail")
    assert response.json() == orjson.loads(file.read_bytes())


def test_response_is_compact_json(client: TestClient) -> None:
    response = client.get(LIST_URL)
    assert response.headers["content-type"] == "application/json"
    assert response.content == orjson.dumps(response.json())


def test_links_have_the_scheme_and_host_of_the_request(client: TestClient) -> None:
    links = client.get(f"{LIST_URL}?name=fakeimage7", headers={"Host": "images.test:8080"}).json()["images"][0]["links"]
    assert links == [
        {"rel": "self", "href": f"http://images.test:8080/v2/openstack/images/{FIRST}"},
        {"rel": "bookmark", "href": f"http://images.test:8080/openstack/images/{FIRST}"},
        {
            "rel": "alternate",
            "href": f"http://images.test:8080/openstack/images/{FIRST}",
            "type": "application/vnd.openstack.image",
        },
    ]


INVALID_HOSTS = ["images.test/evil", "a b", "a@b", "a:b", "a:65536", "a:123456", "[::1", "::1", "a,b", "\x7f", ""]


@pytest.mark.parametrize("host", INVALID_HOSTS)
def test_invalid_host_is_a_bad_request(client: TestClient, host: str) -> None:
    response = client.get(LIST_URL, headers={"Host": host})
    assert (response.status_code, response.json()["badRequest"]["message"]) == (
        400,
        f"Header 'Host': {host!r} is not a host name or address with an optional port.",
    )


@pytest.mark.parametrize("host", ["a", "a_b:80", "a..b", "x" * 300, "127.0.0.1:65535", "[::1]:8774"])
def test_valid_host_is_used_in_links_unchanged(client: TestClient, host: str) -> None:
    (image,) = client.get(f"{LIST_URL}?name=fakeimage7", headers={"Host": host}).json()["images"]
    assert image["links"][0]["href"] == f"http://{host}/v2/openstack/images/{FIRST}"


@pytest.mark.parametrize("host", [*INVALID_HOSTS, ".."])
def test_host_is_ignored_if_the_urls_are_configured(serve: Serve, sample_catalog: str, host: str) -> None:
    client = serve(sample_catalog, compute_url="https://a.test/compute")
    (image,) = client.get(f"{LIST_URL}?limit=1", headers={"Host": host}).json()["images"]
    assert [link["href"] for link in image["links"]] == [
        f"https://a.test/compute/v2/openstack/images/{FIRST}",
        f"https://a.test/compute/openstack/images/{FIRST}",
        f"https://a.test/compute/openstack/images/{FIRST}",
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=fakeimage7", 1),
        ("name=FAKEIMAGE7", 0),
        ("name=", 0),
        *((f"status={status}", 7) for status in ("ACTIVE", "active", "Active")),
        ("status=DELETED", 0),
        ("type=ALL", 7),
        ("type=BASE", 7),
        ("type=SERVER", 0),
        ("type=snapshot", 0),
        ("server=2f1d4f0a-43f8-4b7c-9a3c-1f6f2f9a7f44", 0),
        ("server=", 0),
        ("server=a%20b", 0),
        ("marker=", 7),
        ("marker=&limit=1", 1),
        (f"marker={FIRST}&marker={FIRST}&limit=1&limit=1", 1),
        ("changes-since=2011-01-01T01:02:03Z", 7),
        ("changes-since=2011-01-01t01:02:03.999z", 7),
        ("changes-since=2011-01-01T02:02:03%2B01:00", 7),
        *((f"changes-since=2011-01-01T01:02:03{offset}", 7) for offset in ("%2B0000", "%2B00", "%2B0100")),
        *((f"changes-since={time}", 7) for time in ("2011-01-01T01:02Z", "2011-01-01")),
        *((f"changes-since={time}", 0) for time in ("2011-01-01T01:02:03-0600", "2011-01-01T01:03Z", "2011-01-02")),
        ("changes-since=2011-01-01T01:02:04Z", 0),
        ("changes-since=9999-12-31T23:59:59Z", 0),
        ("changes-since=0001-01-01T00:00:00Z", 7),
        ("name=fakeimage6&status=ACTIVE&type=BASE&changes-since=2011-01-01T00:00:00Z&limit=1", 1),
        ("name=fakeimage6&status=ERROR", 0),
        ("limit=007", 7),
        (f"limit={'0' * 500}1", 1),
    ],
)
def test_image_has_to_match_all_filters(client: TestClient, query: str, expected: int) -> None:
    assert len(ids(client, f"{LIST_URL}?{query}")) == expected


# For each parameter: what is accepted, and invalid values as they are written in a query.
INVALID_VALUES: dict[str, tuple[str, list[str]]] = {
    "status": (f"one of {STATUSES}", ["queued", "", "%00", "act%C4%B1ve", "un%E2%84%AAnown"]),
    "type": (f"one of {TYPES}", ["other", "base"]),
    "server": (NO_NUL, ["%00"]),
    "name": (NO_NUL, ["%00"]),
    "limit": (
        "a whole number from 0 to 2147483647",
        ["-1", "-0", "1.5", "1e3", "1_0", "%2B3", "%203", "%D9%A3", "", "2147483648", "%00"],
    ),
    "marker": ("the id of an image that openstack can see", ["nonsense"]),
    "changes-since": (
        A_TIME,
        [
            *("nonsense", "1295889000", "2011-01", "2011-01-24T17:08:00", "2011-01-24T17Z", "2011-01-24Z"),
            *("2011-02-29T00:00:00Z", "2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00%2B01:00"),
            *("9999-12-31T23:59:59-01:00", "2011-01-24T17:08:00%2B24:00"),
        ],
    ),
}
UNKNOWN = f"is unknown; accepted parameters: {KNOWN}"
INVALID_QUERIES = {
    f"{name}={value}": f"'{name}': {unquote(value)!r} is not {expected}"
    for name, (expected, values) in INVALID_VALUES.items()
    for value in values
} | {
    "name=a%ffb": "'name': 'a%FFb' is not percent-encoded UTF-8",
    "name=%ed%a0%80": "'name': '%ED%A0%80' is not percent-encoded UTF-8",
    "%ff=1": "'%FF' is not percent-encoded UTF-8",
    "limit=" + "9" * 5000: f"'limit': '{'9' * 100}…' is not a whole number from 0 to 2147483647",
    "marker=a%00": "'marker': 'a\\x00' is not the id of an image that the project can see",
    "changes-since=2011-01-24T17:08:00+01:00": (
        f"'changes-since': '2011-01-24T17:08:00 01:00' is not {A_TIME}; encode '+' as %2B"
    ),
    "property-x=y": f"'property-x' {UNKNOWN}",
    "Status=ACTIVE": f"'Status' {UNKNOWN}",
    "%0a=": f"'\\n' {UNKNOWN}",
    "name=a&nam%65=b": "'name' appears more than once, with different values",
    "marker=&marker=a": "'marker' appears more than once, with different values",
}


@pytest.mark.parametrize("query", INVALID_QUERIES)
def test_invalid_parameter_is_named_with_its_value_and_what_is_accepted(client: TestClient, query: str) -> None:
    response = client.get(f"{LIST_URL}?{query}")
    message = f"Parameter {INVALID_QUERIES[query]}."
    assert (response.status_code, response.json()) == (400, {"badRequest": {"code": 400, "message": message}})


@pytest.mark.parametrize(
    "project_id",
    [
        *("%00", "%ff", "x" * 65, "%C3%BC" * 65, "a%3Fb", "a%23b", "openstack%0a", "%0aopenstack", "%1f", "%7f"),
        *("%C2%85", "%2e", "%2E."),
    ],
)
def test_invalid_project_id_is_a_bad_request(client: TestClient, project_id: str) -> None:
    response = client.get(f"/v2/{project_id}/images/detail")
    message = response.json()["badRequest"]["message"]
    assert response.status_code == 400
    assert message.startswith("Parameter 'tenant_id': '")
    assert message.endswith(f" is not {A_PROJECT_ID}.")


PROJECT_IDS = [
    *("657197", "admin", "Admin", "a b", "it's (a) 100% ~id;x@y:z+,=&$!*", "\N{SNOWMAN}" * 64, "-", "a\\b"),
    *("images", "detail", "v2", "ui"),  # segments of other paths
]


@pytest.mark.parametrize("project_id", PROJECT_IDS)
def test_project_id_can_be_any_text_of_a_url_segment(serve: Serve, location: str, project_id: str) -> None:
    own = image(owner=project_id, visibility="private", metadata={"instance_uuid": "s"})
    others = [image(2, owner=f"-{project_id.swapcase()}"[:64], visibility="private"), image(3), image(4)]
    client = serve(catalog_at(location, own, *others), glance_url="http://glance.test")
    encoded = quote(project_id, safe="")
    page = client.get(f"/v2/{encoded}/images/detail?limit=1").json()
    (link,) = page["images_links"]
    hrefs = [each["href"] for each in [*page["images"][0]["links"], *page["images"][0]["server"]["links"], link]]
    assert [unquote(href) for href in hrefs] == [
        *(
            f"http://{host}/{project_id}/images/{own['id']}"
            for host in ("compute.test/v2", "compute.test", "glance.test")
        ),
        *(f"http://{host}/{project_id}/servers/s" for host in ("compute.test/v2", "compute.test")),
        f"http://compute.test/v2/{project_id}/images/detail?limit=1&marker={own['id']}",
    ]
    assert [client.get(href).status_code for href in hrefs[:2]] == [200, 200]
    assert ids(client, link["href"]) == [others[1]["id"], others[2]["id"]][:1]


def test_unknown_parameters_can_be_ignored(serve: Serve, sample_catalog: str) -> None:
    client = serve(sample_catalog, unknown_parameters="ignore")
    page = client.get(f"{LIST_URL}?limit=1&property-x=y&page_size=5").json()
    assert len(page["images"]) == 1
    assert "&property-x=y&page_size=5&" in page["images_links"][0]["href"]


def test_last_value_of_a_repeated_parameter_counts_if_unknown_ones_are_ignored(
    serve: Serve, sample_catalog: str
) -> None:
    client = serve(sample_catalog, unknown_parameters="ignore")
    page = client.get(f"{LIST_URL}?limit=x&x=1&marker={FIRST}&x=2&limit=3&marker=&x=2").json()
    last = page["images"][2]["id"]
    assert page["images"][0]["id"] == FIRST
    assert page["images_links"][0]["href"] == f"http://compute.test{LIST_URL}?limit=3&x=2&marker={last}"


def test_next_link_has_a_repeated_parameter_once(client: TestClient) -> None:
    page = client.get(f"{LIST_URL}?limit=1&status=active&limit=1&status=active").json()
    assert page["images_links"][0]["href"] == f"http://compute.test{LIST_URL}?limit=1&status=active&marker={FIRST}"


def test_next_link_preserves_ignored_parameters_byte_for_byte(serve: Serve, sample_catalog: str) -> None:
    page = serve(sample_catalog, unknown_parameters="ignore").get(f"{LIST_URL}?limit=1&x=%FF&y").json()
    assert page["images_links"][0]["href"] == f"http://compute.test{LIST_URL}?limit=1&x=%FF&y=&marker={FIRST}"


@pytest.mark.parametrize("query", ["limit=1&limit=x", "status=queued", "%ff=x"])
def test_known_parameters_are_validated_if_unknown_ones_are_ignored(
    serve: Serve, sample_catalog: str, query: str
) -> None:
    client = serve(sample_catalog, unknown_parameters="ignore")
    assert client.get(f"{LIST_URL}?{query}").status_code == 400


def test_image_created_from_a_server_links_to_it(serve: Serve, location: str) -> None:
    server = "2f1d4f0a-43f8-4b7c-9a3c-1f6f2f9a7f44"
    snapshot = image(metadata={"instance_uuid": server, "image_type": "snapshot"})
    client = serve(catalog_at(location, snapshot))
    (found,) = client.get(f"{LIST_URL}?server=http://x.test/v2/y/servers/{server}%3Fa=b").json()["images"]
    assert found["server"] == {
        "id": server,
        "links": [
            {"rel": "self", "href": f"http://compute.test/v2/openstack/servers/{server}"},
            {"rel": "bookmark", "href": f"http://compute.test/openstack/servers/{server}"},
        ],
    }
    assert found["metadata"]["instance_uuid"] == server


@pytest.mark.parametrize("server", ["a b", "a/b", "x", "\N{SNOWMAN}", "100%", "100%25", "a?b#c", "urn:x", "/", "a\n"])
def test_any_server_of_an_image_is_found_by_its_id_and_links(serve: Serve, location: str, server: str) -> None:
    other = image(2, metadata={"instance_uuid": ""})
    client = serve(catalog_at(location, image(metadata={"instance_uuid": server}), other))
    found = client.get(LIST_URL).json()["images"][0]
    for value in (server, *(link["href"] for link in found["server"]["links"])):
        assert ids(client, f"{LIST_URL}?server={quote(value, safe='')}") == [found["id"]]


def test_invalid_value_in_the_catalog_is_unavailable_and_not_disclosed(serve: Serve, location: str) -> None:
    execute(catalog_at(location, image()), "UPDATE images SET status = 'SECRET'")
    response = serve(location).get(LIST_URL)
    message = "The catalog is unavailable; try again later."
    assert (response.status_code, response.json()) == (503, {"serviceUnavailable": {"code": 503, "message": message}})
