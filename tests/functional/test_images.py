"""The operation, as a client sees it: requests, answers, and what makes a bad request."""

from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest
from sqlite_utils import Database
from starlette.testclient import TestClient

from app.catalog.documents import ImageFileReader
from app.catalog.transfer import import_images
from app.resources import resource_path
from tests.conftest import Serve
from tests.support.images import catalog_of, image

LIST = "/v2/openstack/images/detail"
FIRST = "70a599e0-31e7-49b7-b260-868f441e862b"
LAST = "76fa36fc-c930-4bf3-8c8a-ea2a2420deb6"

TYPES = "BASE, SERVER, ALL, snapshot, backup"
STATUSES = "ACTIVE, SAVING, DELETED, ERROR, UNKNOWN"
KNOWN = "changes-since, limit, marker, minDisk, minRam, name, server, status, type"
A_NUMBER = "a whole number from 0 to 2147483647"
A_TIME = "an RFC 3339 date and time with a UTC offset, such as 2011-01-24T17:08:00Z"
A_TENANT = "a UUID, with or without dashes, or the word openstack"


def ids(client: TestClient, url: str) -> list[str]:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    return [image["id"] for image in answer.json()["images"]]


def test_the_first_documented_answer_is_answered(serve: Serve, sample_catalog: Path) -> None:
    client = serve(
        sample_catalog,
        compute_url="http://openstack.example.com",
        glance_url="http://glance.openstack.example.com",
    )
    assert client.get(LIST).json() == orjson.loads(resource_path("data/list-images-details.json").read_bytes())


def test_the_second_documented_answer_is_answered(serve: Serve, tmp_path: Path) -> None:
    file = resource_path("data/failed-replication.json")
    import_images(
        tmp_path / "catalog.db",
        list(ImageFileReader(owner=None, visibility="public").read(file.name, file.read_bytes())),
    )
    client = serve(tmp_path / "catalog.db", compute_url="http://10.3.0.201", glance_url="http://10.3.0.119:9292")
    answer = client.get("/v2/776a290892b747c4af8cec5d0e9b3a71/images/detail")
    assert answer.json() == orjson.loads(file.read_bytes())


def test_an_answer_is_compact_json(client: TestClient) -> None:
    answer = client.get(LIST)
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == orjson.dumps(answer.json())


def test_links_begin_with_the_requests_own_scheme_and_host(client: TestClient) -> None:
    links = client.get(f"{LIST}?name=fakeimage7", headers={"Host": "images.test:8080"}).json()["images"][0]["links"]
    assert links == [
        {"rel": "self", "href": f"http://images.test:8080/v2/openstack/images/{FIRST}"},
        {"rel": "bookmark", "href": f"http://images.test:8080/openstack/images/{FIRST}"},
        {
            "rel": "alternate",
            "href": f"http://images.test:8080/openstack/images/{FIRST}",
            "type": "application/vnd.openstack.image",
        },
    ]


def test_links_keep_the_tenant_as_the_request_has_it(client: TestClient) -> None:
    tenant = "6F70656E-7374-4163-8b2d-000000000001"
    image = client.get(f"/v2/{tenant}/images/detail").json()["images"][0]
    assert image["links"][0]["href"] == f"http://compute.test/v2/{tenant}/images/{FIRST}"


BAD_HOSTS = ["images.test/evil", "a b", "a@b", "a:b", "a:65536", "a:123456", "[::1", "::1", "a,b", "\x7f", ""]


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_a_host_that_no_link_can_begin_with_is_a_bad_request(client: TestClient, host: str) -> None:
    answer = client.get(LIST, headers={"Host": host})
    assert (answer.status_code, answer.json()["badRequest"]["message"]) == (
        400,
        f"Header 'Host': {host!r} is not a host, with or without a port.",
    )


@pytest.mark.parametrize(
    "host", ["a", "a_b:80", "a..b", "x" * 300, "127.0.0.1:65535", "[::1]:8774", "a%2Eb".lower()[:1]]
)
def test_a_host_that_links_can_begin_with_is_taken_as_it_is(client: TestClient, host: str) -> None:
    (image,) = client.get(f"{LIST}?name=fakeimage7", headers={"Host": host}).json()["images"]
    assert image["links"][0]["href"] == f"http://{host}/v2/openstack/images/{FIRST}"


@pytest.mark.parametrize("host", [*BAD_HOSTS, ".."])
def test_no_host_is_looked_at_when_the_links_are_configured(serve: Serve, sample_catalog: Path, host: str) -> None:
    client = serve(sample_catalog, compute_url="https://a.test/compute")
    (image,) = client.get(f"{LIST}?limit=1", headers={"Host": host}).json()["images"]
    assert [link["href"] for link in image["links"]] == [
        f"https://a.test/compute/v2/openstack/images/{FIRST}",
        f"https://a.test/compute/openstack/images/{FIRST}",
        f"https://a.test/compute/openstack/images/{FIRST}",
    ]


def test_pages_are_followed_to_the_end(client: TestClient) -> None:
    url, seen = f"{LIST}?limit=3&status=ACTIVE", []
    while url:
        page = client.get(url).json()
        seen.append([image["id"] for image in page["images"]])
        links = page.get("images_links")
        url = links[0]["href"].removeprefix("http://compute.test") if links else ""
    assert [len(page) for page in seen] == [3, 3, 1]
    assert [each for page in seen for each in page] == ids(client, LIST)


def test_the_next_link_is_the_same_request_with_another_marker(client: TestClient) -> None:
    query = "changes-since=2011-01-01T01:02:03%2B00:00&limit=1&marker=" + FIRST
    page = client.get(f"{LIST}?{query}").json()
    assert page["images_links"] == [
        {
            "rel": "next",
            "href": f"http://compute.test{LIST}?changes-since=2011-01-01T01%3A02%3A03%2B00%3A00&limit=1"
            f"&marker={page['images'][0]['id']}",
        }
    ]


@pytest.mark.parametrize("query", ["", "?limit=7", "?limit=8", "?limit=0", "?limit=2147483647", f"?marker={FIRST}"])
def test_a_last_page_has_no_next_link(client: TestClient, query: str) -> None:
    assert set(client.get(LIST + query).json()) == {"images"}


def test_a_page_after_the_last_image_is_empty(client: TestClient) -> None:
    assert client.get(f"{LIST}?marker={LAST}").json() == {"images": []}


def test_a_page_is_no_longer_than_the_setting_allows(serve: Serve, sample_catalog: Path) -> None:
    client = serve(sample_catalog, max_limit=2)
    assert [len(ids(client, LIST + query)) for query in ("", "?limit=0", "?limit=1", "?limit=5")] == [2, 2, 1, 2]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=fakeimage7", 1),
        ("name=FAKEIMAGE7", 0),
        ("name=", 0),
        ("status=ACTIVE", 7),
        ("status=DELETED", 0),
        ("type=ALL", 7),
        ("type=BASE", 7),
        ("type=SERVER", 0),
        ("type=snapshot", 0),
        ("server=2f1d4f0a-43f8-4b7c-9a3c-1f6f2f9a7f44", 0),
        ("server=", 0),
        ("changes-since=2011-01-01T01:02:03Z", 7),
        ("changes-since=2011-01-01t01:02:03.999z", 7),
        ("changes-since=2011-01-01T02:02:03%2B01:00", 7),
        ("changes-since=2011-01-01T01:02:04Z", 0),
        ("changes-since=9999-12-31T23:59:59Z", 0),
        ("changes-since=0001-01-01T00:00:00Z", 7),
        ("name=fakeimage6&status=ACTIVE&type=BASE&changes-since=2011-01-01T00:00:00Z&limit=1", 1),
        ("name=fakeimage6&status=ERROR", 0),
        ("limit=007", 7),
        (f"limit={'0' * 500}1", 1),
    ],
)
def test_filters_are_all_to_be_met(client: TestClient, query: str, expected: int) -> None:
    assert len(ids(client, f"{LIST}?{query}")) == expected


BAD_QUERIES = {
    "status=active": f"Parameter 'status': 'active' is not one of {STATUSES}.",
    "status=": f"Parameter 'status': '' is not one of {STATUSES}.",
    "status=%00": f"Parameter 'status': '\\x00' is not one of {STATUSES}.",
    "type=other": f"Parameter 'type': 'other' is not one of {TYPES}.",
    "type=base": f"Parameter 'type': 'base' is not one of {TYPES}.",
    "server=a%20b": "Parameter 'server': 'a b' is not the URL or id of a server.",
    "server=%00": "Parameter 'server': '\\x00' is not the URL or id of a server.",
    "name=%00": "Parameter 'name': '\\x00' is not text without NUL characters.",
    "name=a%ffb": "Parameter 'name': 'a%FFb' is not UTF-8, percent-encoded.",
    "name=%ed%a0%80": "Parameter 'name': '%ED%A0%80' is not UTF-8, percent-encoded.",
    "%ff=1": "Parameter '%FF' is not UTF-8, percent-encoded.",
    "limit=-1": f"Parameter 'limit': '-1' is not {A_NUMBER}.",
    "limit=-0": f"Parameter 'limit': '-0' is not {A_NUMBER}.",
    "limit=1.5": f"Parameter 'limit': '1.5' is not {A_NUMBER}.",
    "limit=1e3": f"Parameter 'limit': '1e3' is not {A_NUMBER}.",
    "limit=1_0": f"Parameter 'limit': '1_0' is not {A_NUMBER}.",
    "limit=%2B3": f"Parameter 'limit': '+3' is not {A_NUMBER}.",
    "limit=%203": f"Parameter 'limit': ' 3' is not {A_NUMBER}.",
    "limit=%D9%A3": f"Parameter 'limit': '\N{ARABIC-INDIC DIGIT THREE}' is not {A_NUMBER}.",
    "limit=": f"Parameter 'limit': '' is not {A_NUMBER}.",
    "limit=2147483648": f"Parameter 'limit': '2147483648' is not {A_NUMBER}.",
    "limit=" + "9" * 5000: f"Parameter 'limit': '{'9' * 100}…' is not {A_NUMBER}.",
    "limit=%00": f"Parameter 'limit': '\\x00' is not {A_NUMBER}.",
    "marker=nonsense": "Parameter 'marker': 'nonsense' is not the id of an image that openstack can see.",
    "marker=": "Parameter 'marker': '' is not the id of an image that openstack can see.",
    "marker=a%00": "Parameter 'marker': 'a\\x00' is not the id of an image that the project can see.",
    "changes-since=nonsense": f"Parameter 'changes-since': 'nonsense' is not {A_TIME}.",
    "changes-since=1295889000": f"Parameter 'changes-since': '1295889000' is not {A_TIME}.",
    "changes-since=2011-01-24": f"Parameter 'changes-since': '2011-01-24' is not {A_TIME}.",
    "changes-since=2011-01-24T17:08:00": f"Parameter 'changes-since': '2011-01-24T17:08:00' is not {A_TIME}.",
    "changes-since=2011-01-24T17:08Z": f"Parameter 'changes-since': '2011-01-24T17:08Z' is not {A_TIME}.",
    "changes-since=2011-02-29T00:00:00Z": f"Parameter 'changes-since': '2011-02-29T00:00:00Z' is not {A_TIME}.",
    "changes-since=2016-12-31T23:59:60Z": f"Parameter 'changes-since': '2016-12-31T23:59:60Z' is not {A_TIME}.",
    "changes-since=0000-01-01T00:00:00Z": f"Parameter 'changes-since': '0000-01-01T00:00:00Z' is not {A_TIME}.",
    "changes-since=0001-01-01T00:00:00%2B01:00": (
        f"Parameter 'changes-since': '0001-01-01T00:00:00+01:00' is not {A_TIME}."
    ),
    "changes-since=9999-12-31T23:59:59-01:00": (
        f"Parameter 'changes-since': '9999-12-31T23:59:59-01:00' is not {A_TIME}."
    ),
    "changes-since=2011-01-24T17:08:00%2B24:00": (
        f"Parameter 'changes-since': '2011-01-24T17:08:00+24:00' is not {A_TIME}."
    ),
    "changes-since=2011-01-24T17:08:00+01:00": (
        f"Parameter 'changes-since': '2011-01-24T17:08:00 01:00' is not {A_TIME}; a '+' is sent as %2B."
    ),
    "property-x=y": f"Parameter 'property-x' is not known; known are {KNOWN}.",
    "Status=ACTIVE": f"Parameter 'Status' is not known; known are {KNOWN}.",
    "%0a=": f"Parameter '\\n' is not known; known are {KNOWN}.",
    "name=a&name=a": "Parameter 'name' came more than once.",
    "name=a&nam%65=b": "Parameter 'name' came more than once.",
}


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_a_bad_parameter_is_named_with_what_came_and_what_is_allowed(client: TestClient, query: str) -> None:
    answer = client.get(f"{LIST}?{query}")
    assert answer.json() == {"badRequest": {"code": 400, "message": BAD_QUERIES[query]}}
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "tenant",
    [
        "foo",
        "OPENSTACK",
        "%00",
        "%ff",
        "1" * 31,
        "1" * 33,
        "g" * 32,
        "{0}-{0}",
        "openstack%20",
        "openstack%0a",
        "%0aopenstack",
        "11111111-1111-1111-11111111-11111111",
    ],
)
def test_a_tenant_that_is_no_id_is_a_bad_request(client: TestClient, tenant: str) -> None:
    answer = client.get(f"/v2/{tenant}/images/detail")
    message = answer.json()["badRequest"]["message"]
    assert (answer.status_code, message[:24], message[-len(A_TENANT) - 9 :]) == (
        400,
        "Parameter 'tenant_id': '",
        f" is not {A_TENANT}.",
    )


@pytest.mark.parametrize("tenant", ["openstack", "0" * 32, "ABCDEF01-2345-6789-abcd-ef0123456789"])
def test_a_tenant_is_an_id_in_either_form_and_case(client: TestClient, tenant: str) -> None:
    assert len(ids(client, f"/v2/{tenant}/images/detail")) == 7


def test_unknown_parameters_can_be_ignored_as_nova_does(serve: Serve, sample_catalog: Path) -> None:
    client = serve(sample_catalog, unknown_parameters="ignore")
    page = client.get(f"{LIST}?limit=1&property-x=y&property-x=z&page_size=5").json()
    assert len(page["images"]) == 1
    assert "&property-x=y&property-x=z&page_size=5&" in page["images_links"][0]["href"]


def test_the_next_link_keeps_what_was_ignored_to_the_byte(serve: Serve, sample_catalog: Path) -> None:
    page = serve(sample_catalog, unknown_parameters="ignore").get(f"{LIST}?limit=1&x=%FF&y").json()
    assert page["images_links"][0]["href"] == f"http://compute.test{LIST}?limit=1&x=%FF&y=&marker={FIRST}"


@pytest.mark.parametrize("query", ["limit=1&limit=1", "status=active", "%ff=x"])
def test_known_parameters_are_checked_all_the_same(serve: Serve, sample_catalog: Path, query: str) -> None:
    client = serve(sample_catalog, unknown_parameters="ignore")
    assert client.get(f"{LIST}?{query}").status_code == 400


def test_an_image_made_from_a_server_links_to_it(serve: Serve, tmp_path: Path) -> None:
    server = "2f1d4f0a-43f8-4b7c-9a3c-1f6f2f9a7f44"
    snapshot = image(metadata={"instance_uuid": server, "image_type": "snapshot"})
    client = serve(catalog_of(tmp_path, snapshot))
    (found,) = client.get(f"{LIST}?server=http://x.test/v2/y/servers/{server}%3Fa=b").json()["images"]
    assert found["server"] == {
        "id": server,
        "links": [
            {"rel": "self", "href": f"http://compute.test/v2/openstack/servers/{server}"},
            {"rel": "bookmark", "href": f"http://compute.test/openstack/servers/{server}"},
        ],
    }
    assert found["metadata"]["instance_uuid"] == server


@pytest.mark.parametrize(
    "server",
    ["a b", "a/b", "x", "\N{SNOWMAN}", "100%"],
)
def test_an_images_own_server_link_finds_it(serve: Serve, tmp_path: Path, server: str) -> None:
    client = serve(catalog_of(tmp_path, image(metadata={"instance_uuid": server})))
    (found,) = client.get(LIST).json()["images"]
    for link in found["server"]["links"]:
        assert ids(client, f"{LIST}?server={quote(link['href'], safe='')}") == [found["id"]]


def test_an_answer_that_breaks_the_contract_is_a_fault_that_quotes_nothing(serve: Serve, tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image())
    with closing(Database(path)) as db:
        db.execute("UPDATE images SET status = 'SECRET'")
    answer = serve(path).get(LIST)
    assert (answer.status_code, answer.json()) == (
        500,
        {
            "computeFault": {
                "code": 500,
                "message": "The service failed to answer; its log tells why under this request's id.",
            }
        },
    )
