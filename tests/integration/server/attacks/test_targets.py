"""Request targets: path traversal and other spellings do not reach a resource."""

from itertools import product

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service
from tests.integration.server.wire import Connection, fetch, request

VALID = request(f"{LIST}?limit=1")

# A path is percent-decoded once, before routing.
SAME = [
    *("/v2/openstack/images%2fdetail", "/v2/openstack%2Fimages%2Fdetail", "/v2%2fopenstack/images/detail"),
    *("/v2/%6fpenstack/images/detail", "/v2/openstack/images/detai%6c", "/%76%32/openstack/images/detail", f"{LIST}?"),
    *(f"{LIST}#fragment", f"http://compute.test{LIST}", f"HTTP://compute.test{LIST}"),
]

NOT_FOUND = (404, "itemNotFound")
BAD = (400, "badRequest")

NOT_FOUND_PATHS = [
    # Werkzeug strips leading slashes, so that it would match paths that Connexion does not.
    *(f"{slash}{LIST}" for slash in ("/", "//", "/%2F", "/%5c", "/.", "/..", "/%2e%2e", "/v2/..", "/v2/%2e%2e")),
    *(f"/%2f{LIST[1:]}", f"/{LIST}?limit=1", f"{LIST}/", f"{LIST}//", f"{LIST}/?limit=1", f"{LIST}/.."),
    *("//", "//v2", "/v2//openstack/images/detail", "///v2//openstack/images/detail", "/v2/openstack//images/detail"),
    *("/v2/openstack/images//detail", "/v2/%2fopenstack/images/detail", "/v2/openstack%252fimages/detail"),
    *("/v2\\openstack\\images\\detail", "/v2%5copenstack%5cimages%5cdetail", f"http://compute.test/{LIST}"),
    *("//other.test/ui", "/%5cother.test/ui", f"/v2/%252e%252e{LIST}", "/v2/openstack/images/./detail"),
    *("/v2/openstack/../openstack/images", "/ui/.", "/ui/../v2", "/ui/../../cli/serving.py", "/ui/..%2f..%2fserver.py"),
    *("/ui/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/ui/..%5cserver.py", "/ui//etc/passwd", "/ui/%2fetc/passwd"),
    *("/ui/file:///etc/passwd", f"{LIST};limit=1", f"{LIST}%00", f"/%00{LIST}", "/ui/index.html%00", f"{LIST}%20"),
    *(f"{LIST}%0a", "/v2%0a/openstack/images/detail", "/v2/openstack/images/%ff", "/ui/%ff", f"/%c0%ae%c0%ae{LIST}"),
    *("/v2/openstack%c0%afimages/detail", "/v2/openstack/images%c0%afdetail", f"/%e0%80%ae{LIST}"),
    *("/v2/openstack/images/%", "/v2/openstack/images/%zz", "/v2/openstack/images/%u0064etail"),
    *("/V2/openstack/images/detail", "*"),
]
BAD_PATHS = [  # with an invalid project
    *("/v2/../images/detail", "/v2/./images/detail", "/v2/%2e%2e/images/detail", "/v2/openstack%00/images/detail"),
    *("/v2/openstack%0a/images/detail", "/v2/openstack%09/images/detail", "/v2/openstack%ff/images/detail"),
]

NO_PATH = [
    *("compute.test:80", "http://compute.test", "http:///v2", f"http:{LIST}", LIST[1:], "?limit=1", "#fragment"),
    *("\\v2", "%2fv2", ":"),
]


@pytest.fixture
def images(target: Service) -> list[str]:
    return fetch(target.port, request(LIST)).images


@pytest.mark.parametrize("path", SAME)
def test_equivalent_target_is_found(connection: Connection, images: list[str], path: str) -> None:
    assert connection.fetch(request(path)).images == images


@pytest.mark.parametrize(("path", "fault"), [*product(NOT_FOUND_PATHS, [NOT_FOUND]), *product(BAD_PATHS, [BAD])])
def test_other_target_is_rejected_between_valid_requests(
    connection: Connection, path: str, fault: tuple[int, str]
) -> None:
    connection.send(VALID, request(path), request(path, method="HEAD"), VALID)
    before, rejected, head, after = (connection.receive(head=is_head) for is_head in (False, False, True, False))
    assert (rejected.fault, head.status) == (fault, fault[0])
    assert "location" not in rejected.headers
    assert (before.body, len(before.images)) == (after.body, 1)


@pytest.mark.parametrize("target_of_request", NO_PATH)
def test_target_without_path_is_rejected_and_closes_connection(connection: Connection, target_of_request: str) -> None:
    connection.send(request(target_of_request), VALID)
    assert [response.fault for response in connection.receive_all()] == [BAD]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "GET"])
def test_asterisk_is_not_found(connection: Connection, method: str) -> None:
    assert connection.fetch(request("*", method=method)).fault == NOT_FOUND
    assert connection.fetch(VALID).status == 200


@pytest.mark.parametrize(
    ("url", "links"),
    [
        ("http://other.test", "http://other.test/v2/"),
        ("http://other.test:8774", "http://other.test:8774/v2/"),
        ("https://other.test", "http://other.test/v2/"),
    ],
)
def test_host_of_absolute_url_takes_precedence(connection: Connection, url: str, links: str) -> None:
    response = connection.fetch(request(f"{url}/v2"))
    assert [link["href"] for link in response.document["version"]["links"]] == [links]


def test_absolute_url_with_user_is_rejected(connection: Connection) -> None:
    assert connection.fetch(request("http://compute.test@other.test/v2")).fault == BAD
