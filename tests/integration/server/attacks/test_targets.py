"""What a request can name in its first line: nothing is reached by any other name than its own."""

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service
from tests.integration.server.wire import Connection, ask, request

GOOD = request(f"{LIST}?limit=1")

# An encoded character is the character: a path is decoded once, before anything is made of it.
SAME = [
    "/v2/openstack/images%2fdetail",
    "/v2/openstack%2Fimages%2Fdetail",
    "/v2%2fopenstack/images/detail",
    "/v2/%6fpenstack/images/detail",
    "/v2/openstack/images/detai%6c",
    "/%76%32/openstack/images/detail",
    f"{LIST}?",
    f"{LIST}#fragment",
    f"http://compute.test{LIST}",
    f"HTTP://compute.test{LIST}",
]

NOTHING = (404, "itemNotFound")
BAD = (400, "badRequest")

REFUSED = {
    "/": [
        ("//", NOTHING),
        ("//v2", NOTHING),
        ("/v2//openstack/images/detail", NOTHING),
        ("///v2//openstack/images/detail", NOTHING),
        ("/v2/openstack//images/detail", NOTHING),
        ("/v2/openstack/images//detail", NOTHING),
        ("/v2/%2fopenstack/images/detail", NOTHING),
        ("/v2/openstack%252fimages/detail", NOTHING),
        ("/v2\\openstack\\images\\detail", NOTHING),
        ("/v2%5copenstack%5cimages%5cdetail", NOTHING),
        (f"http://compute.test/{LIST}", NOTHING),
        ("//other.test/ui", NOTHING),
        ("/%5cother.test/ui", NOTHING),
    ],
    ".": [
        (f"/.{LIST}", NOTHING),
        (f"/..{LIST}", NOTHING),
        (f"/%2e%2e{LIST}", NOTHING),
        (f"/v2/..{LIST}", NOTHING),
        (f"/v2/%2e%2e{LIST}", NOTHING),
        (f"/v2/%252e%252e{LIST}", NOTHING),
        ("/v2/openstack/images/./detail", NOTHING),
        (f"{LIST}/..", NOTHING),
        ("/v2/openstack/../openstack/images", NOTHING),
        ("/v2/../images/detail", BAD),
        ("/ui/../v2", NOTHING),
        ("/ui/../../cli/serving.py", NOTHING),
        ("/ui/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", NOTHING),
        ("/ui/..%2f..%2fserver.py", NOTHING),
        ("/ui/..%5cserver.py", NOTHING),
        ("/ui//etc/passwd", NOTHING),
        ("/ui/%2fetc/passwd", NOTHING),
        ("/ui/file:///etc/passwd", NOTHING),
    ],
    "other characters": [
        (f"{LIST};limit=1", NOTHING),
        ("/v2/openstack;x/images/detail", BAD),
        (f"{LIST}%00", NOTHING),
        (f"/%00{LIST}", NOTHING),
        ("/v2/openstack%00/images/detail", BAD),
        ("/ui/index.html%00", NOTHING),
        (f"{LIST}%20", NOTHING),
        (f"{LIST}%0a", NOTHING),
        ("/v2/openstack%0a/images/detail", BAD),
        ("/v2%0a/openstack/images/detail", NOTHING),
        ("/v2/openstack%ff/images/detail", BAD),
        ("/v2/openstack/images/%ff", NOTHING),
        ("/ui/%ff", NOTHING),
        ("/v2/openstack%c0%afimages/detail", NOTHING),
        ("/v2/openstack/images%c0%afdetail", NOTHING),
        (f"/%c0%ae%c0%ae{LIST}", NOTHING),
        (f"/%e0%80%ae{LIST}", NOTHING),
        ("/v2/openstack/images/%", NOTHING),
        ("/v2/openstack/images/%zz", NOTHING),
        ("/v2/openstack/images/%u0064etail", NOTHING),
        ("/V2/openstack/images/detail", NOTHING),
        ("/v2/OPENSTACK/images/detail", BAD),
    ],
    "no path": [("*", NOTHING)],
}

UNREADABLE = [
    "compute.test:80",
    "http://compute.test",
    "http:///v2",
    f"http:{LIST}",
    LIST[1:],
    "?limit=1",
    "#fragment",
    "\\v2",
    "%2fv2",
    ":",
]


@pytest.fixture
def images(target: Service) -> list[str]:
    """Ask for what every good request of these tests is answered with."""
    return ask(target.port, request(LIST)).images


@pytest.mark.parametrize("path", SAME)
def test_a_path_is_one_however_it_is_written(connection: Connection, images: list[str], path: str) -> None:
    assert connection.ask(request(path)).images == images


@pytest.mark.parametrize(("path", "fault"), [row for rows in REFUSED.values() for row in rows])
def test_another_path_is_another_even_between_good_requests(
    connection: Connection, path: str, fault: tuple[int, str]
) -> None:
    connection.send(GOOD, request(path), request(path, method="HEAD"), GOOD)
    before, refused, bare, after = (connection.receive(head=head) for head in (False, False, True, False))
    assert (refused.fault, bare.status) == (fault, fault[0])
    assert "location" not in refused.headers
    assert (before.body, len(before.images)) == (after.body, 1)


@pytest.mark.parametrize("target_of_request", UNREADABLE)
def test_what_names_no_path_is_refused_and_ends_the_connection(connection: Connection, target_of_request: str) -> None:
    connection.send(request(target_of_request), GOOD)
    assert [answer.fault for answer in connection.receive_all()] == [BAD]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "GET"])
def test_the_whole_server_is_no_resource(connection: Connection, method: str) -> None:
    assert connection.ask(request("*", method=method)).fault == NOTHING
    assert connection.ask(GOOD).status == 200


@pytest.mark.parametrize(
    ("url", "links"),
    [
        ("http://other.test", "http://other.test/v2/"),
        ("http://other.test:8774", "http://other.test:8774/v2/"),
        ("https://other.test", "http://other.test/v2/"),
    ],
)
def test_a_host_in_the_url_counts_and_no_other(connection: Connection, url: str, links: str) -> None:
    answer = connection.ask(request(f"{url}/v2"))
    assert [link["href"] for link in answer.document["version"]["links"]] == [links]


def test_a_user_in_the_url_makes_it_no_host(connection: Connection) -> None:
    assert connection.ask(request("http://compute.test@other.test/v2")).fault == BAD
