"""Requests and responses over HTTP/1.1."""

import re

import pytest

from app.contract.document import Contract
from app.errors import InvalidHost
from tests.integration.server.conftest import GLANCE_URL, LIST
from tests.integration.server.service import Service, until
from tests.integration.server.wire import JSON, Connection, Response, fetch, request

PIPELINED = [
    request(f"{LIST}?limit=1"),
    request(f"{LIST}?status=queued"),
    request(LIST),
    request("/nowhere"),
    request(f"{LIST}?name=fakeimage6"),
    request(f"/{LIST}"),
    request(f"{LIST}?limit=1&marker=70a599e0-31e7-49b7-b260-868f441e862b"),
    request("/v2/openstack/images", method="DELETE"),
    request("/v2/non%00sense/images/detail"),
    request(f"{LIST}?limit=2"),
]

MALFORMED = {
    "no request line": b"NONSENSE\r\n\r\n",
    "unknown method": request(LIST, method="MADEUP"),
    "unknown version": request(LIST).replace(b"HTTP/1.1", b"HTTP/9.9"),
    "version 2.0": request(LIST).replace(b"HTTP/1.1", b"HTTP/2.0"),
    "no Host": request(LIST).replace(b"Host: compute.test\r\n", b""),
    "two Hosts": request(LIST, "Host: compute.test"),
    "header without name": request(LIST, ": nothing"),
    "NUL in header": request(LIST, "X-Nul: a\0b"),
    "CONNECT": b"CONNECT compute.test:80 HTTP/1.1\r\nHost: compute.test\r\n\r\n",
    "CONNECT with Upgrade": request("compute.test:80", "Connection: Upgrade", "Upgrade: a", method="CONNECT"),
    "UTF-8 in path": request("/v2/é/images/detail".encode()),
    "UTF-8 in query": request(f"{LIST}?name=é".encode()),
    "invalid UTF-8 in query": request(LIST.encode() + b"?name=\xff"),
}

REQUEST_ID = re.compile("req-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


VARYING_HEADERS = {"date", "x-compute-request-id", "x-openstack-request-id"}


def constant_parts(response: Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in response.headers.items() if name not in VARYING_HEADERS}
    return response.status, headers, response.body


def test_connection_is_reused(connection: Connection) -> None:
    assert [len(connection.fetch(request(f"{LIST}?limit={limit}")).images) for limit in range(1, 8)] == list(
        range(1, 8)
    )


def test_links_begin_with_setting_or_host_of_request(connection: Connection) -> None:
    (image,) = connection.fetch(request(f"{LIST}?limit=1", host="compute.test:8774")).document["images"]
    assert [link["href"].removesuffix(image["id"]) for link in image["links"]] == [
        "http://compute.test:8774/v2/openstack/images/",
        "http://compute.test:8774/openstack/images/",
        f"{GLANCE_URL}/openstack/images/",
    ]


def test_pipelined_requests_get_their_responses_in_order(service: Service, connection: Connection) -> None:
    single = [constant_parts(fetch(service.port, raw)) for raw in PIPELINED]
    assert [status for status, *_ in single] == [200, 400, 200, 404, 200, 404, 200, 405, 400, 200]
    for _ in range(5):
        connection.send(*PIPELINED)
        assert [constant_parts(connection.receive()) for _ in PIPELINED] == single


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "raw",
    [request(LIST), request(f"{LIST[:-7]}/x/metadata", "Content-Length: 2", method="PUT") + b"{}"],
    ids=["GET", "PUT"],
)
def test_client_that_closes_its_sending_side_gets_all_responses(connection: Connection, raw: bytes, count: int) -> None:
    expected = constant_parts(connection.fetch(raw))
    connection.send(*[raw] * count)
    connection.finish()
    assert [constant_parts(response) for response in connection.receive_all()] == [expected] * count


def test_white_space_around_header_values_is_ignored(connection: Connection) -> None:
    plain = constant_parts(connection.fetch(request(LIST, "Accept-Encoding: gzip")))
    spaced = request(LIST, "Accept-Encoding: \t gzip \t", host=" compute.test\t ")
    assert constant_parts(connection.fetch(spaced)) == plain
    chunked = request(LIST, "Transfer-Encoding: chunked ") + b"0\r\n\r\n"
    assert connection.fetch(chunked).status == 200


def test_request_can_arrive_byte_by_byte(connection: Connection) -> None:
    for byte in request(f"{LIST}?limit=2"):
        connection.send(bytes([byte]))
    assert len(connection.receive().images) == 2


@pytest.mark.parametrize("target", [LIST, f"{LIST}?limit=x", "/nowhere", f"/{LIST}", "/openapi.json", "/ui/"])
def test_head_returns_headers_of_get_without_body(connection: Connection, target: str) -> None:
    status, headers, body = constant_parts(connection.fetch(request(target)))
    assert constant_parts(connection.fetch(request(target, method="HEAD"))) == (status, headers, b"")
    assert headers["content-length"] == str(len(body))
    assert connection.fetch(request(f"{LIST}?limit=1")).status == 200


def test_head_can_be_pipelined(connection: Connection) -> None:
    connection.send(request(LIST, method="HEAD"), request(f"{LIST}?limit=1"), request("/nowhere", method="HEAD"))
    assert connection.receive(head=True).status == 200
    assert len(connection.receive().images) == 1
    assert connection.receive(head=True).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_unsupported_method_returns_405_with_allowed_methods(connection: Connection, method: str) -> None:
    response = connection.fetch(request("/v2/openstack/images", "Content-Length: 2", method=method) + b"{}")
    assert (response.fault, response.headers["allow"]) == ((405, "badMethod"), "GET, HEAD, OPTIONS")
    assert connection.fetch(request(f"{LIST}?limit=1")).status == 200


@pytest.mark.parametrize("content_type", [";;;", "", "a/b/c", "application/json; charset=nonsense"])
def test_content_type_of_get_is_ignored(connection: Connection, content_type: str) -> None:
    assert len(connection.fetch(request(LIST, f"Content-Type: {content_type}")).images) == 7


def test_body_of_get_is_skipped(connection: Connection) -> None:
    connection.send(request(LIST, "Content-Length: 7"), b"{}\r\n\r\nX", request(f"{LIST}?limit=1"))
    assert [len(connection.receive().images) for _ in range(2)] == [7, 1]


@pytest.mark.parametrize("trailer", ["Host: other.test", "If-None-Match: *", "Content-Type: text/plain"])
def test_trailer_is_not_a_header(connection: Connection, trailer: str) -> None:
    body = b"2\r\n{}\r\n0\r\n%b\r\n\r\n" % trailer.encode()
    assert len(connection.fetch(request(LIST, "Transfer-Encoding: chunked") + body).images) == 7
    replacing = request("/v2/openstack/images/x/metadata", JSON, "Transfer-Encoding: chunked", method="PUT")
    assert connection.fetch(replacing + body).fault == (400, "badRequest")  # the body was read: it lacks "metadata"


def test_get_does_not_wait_for_missing_body(service: Service) -> None:
    with Connection(service.port, timeout=5) as connection:
        assert len(connection.fetch(request(LIST, "Content-Length: 7")).images) == 7


def test_upgrade_is_ignored(connection: Connection) -> None:
    response = connection.fetch(
        request(LIST, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
    )
    assert len(response.images) == 7
    assert len(connection.fetch(request(f"{LIST}?limit=1")).images) == 1


@pytest.mark.parametrize(
    "raw",
    [request(LIST).replace(b"HTTP/1.1", b"HTTP/1.0"), request(LIST, "Connection: close")],
    ids=["HTTP/1.0", "Connection: close"],
)
def test_client_can_request_close(connection: Connection, raw: bytes) -> None:
    response = connection.fetch(raw)
    assert (len(response.images), response.headers["connection"]) == (7, "close")
    assert connection.receive_if_any() is None


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_request_returns_400_closes_connection_and_is_logged(
    service: Service, connection: Connection, raw: bytes
) -> None:
    response = connection.fetch(raw)
    assert (response.fault, response.headers["connection"]) == ((400, "badRequest"), "close")
    Contract.load(secured=False).operations["listImagesDetails"].validate_response(400, response.document)
    assert connection.receive_if_any() is None
    entry = f"Z INFO app.server.rejections {response.headers['x-compute-request-id']} Request rejected: Bad Request\n"
    until(lambda: entry in service.log)


def test_malformed_request_is_rejected_after_responses_to_earlier_requests(connection: Connection) -> None:
    assert connection.fetch(request(LIST)).status == 200
    connection.send(request(LIST), request(f"{LIST}?limit=1"), MALFORMED["no request line"])
    responses = [connection.receive_if_any() for _ in range(3)]
    assert [response and response.status for response in responses] == [200, 200, 400]


def test_each_response_has_unique_request_id(service: Service, connection: Connection) -> None:
    connection.send(*PIPELINED)
    responses = [connection.receive() for _ in PIPELINED]
    others = [request("/openapi.json"), request("/ui/"), request(LIST, method="HEAD")]
    chosen = request(LIST, "X-Compute-Request-Id: req-mine", "X-Openstack-Request-Id: req-mine")
    responses += [fetch(service.port, raw) for raw in [*MALFORMED.values(), *others, chosen]]
    ids = [response.headers["x-compute-request-id"] for response in responses]
    assert [each for each in ids if not REQUEST_ID.fullmatch(each)] == []
    assert {response.headers["x-content-type-options"] for response in responses} == {"nosniff"}
    assert len(set(ids)) == len(responses)


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a:b", "a@b", "a,b", "[::1", "a%41", "*"])
def test_invalid_host_returns_400(connection: Connection, host: str) -> None:
    response = connection.fetch(request(LIST, host=host))
    assert response.fault == (400, "badRequest")
    assert response.document["badRequest"]["message"] == str(InvalidHost(host))
    assert connection.fetch(request(LIST)).status == 200


def test_contract_is_served_with_the_url_of_the_service_and_swagger_ui(connection: Connection) -> None:
    contract, url = Contract.load(secured=False), "http://compute.test"
    assert connection.fetch(request("/openapi.yaml")).body == contract.yaml_at(url)
    assert connection.fetch(request("/openapi.json")).body == contract.json_at(url)
    for name in ("", "swagger-ui.css", "swagger-ui-bundle.js"):
        assert connection.fetch(request(f"/ui/{name}")).status == 200
