"""Requests and their answers on the wire."""

import re

import orjson
import pytest

from app.contract.document import Contract
from tests.integration.server.conftest import GLANCE_URL, LIST
from tests.integration.server.service import Service
from tests.integration.server.wire import Answer, Connection, ask, request

# Werkzeug strips leading slashes, so it would find what Connexion does not.
DOUBLED = [
    f"/{LIST}",
    f"//{LIST}",
    f"/{LIST}?limit=1",
    f"/%2f{LIST[1:]}",
    f"/%2F{LIST}",
    f"/%5c{LIST}",
    f"/.{LIST}",
]

PIPELINED = [
    request(f"{LIST}?limit=1"),
    request(f"{LIST}?status=active"),
    request(LIST),
    request("/nowhere"),
    request(f"{LIST}?name=fakeimage6"),
    request(f"/{LIST}"),
    request(f"{LIST}?limit=1&marker=70a599e0-31e7-49b7-b260-868f441e862b"),
    request("/v2/openstack/images", method="DELETE"),
    request("/v2/nonsense/images/detail"),
    request(f"{LIST}?limit=2"),
]

NO_HTTP = {
    "no request line": b"NONSENSE\r\n\r\n",
    "no method that HTTP knows": request(LIST, method="MADEUP"),
    "no version that HTTP has": request(LIST).replace(b"HTTP/1.1", b"HTTP/9.9"),
    "a version that is no text": request(LIST).replace(b"HTTP/1.1", b"HTTP/2.0"),
    "for no host": request(LIST).replace(b"Host: compute.test\r\n", b""),
    "for two hosts": request(LIST, "Host: compute.test"),
    "a header without a name": request(LIST, ": nothing"),
    "NUL in a header": request(LIST, "X-Nul: a\0b"),
    "for a tunnel": b"CONNECT compute.test:80 HTTP/1.1\r\nHost: compute.test\r\n\r\n",
    "for a tunnel and another protocol": request(
        "compute.test:80", "Connection: Upgrade", "Upgrade: a", method="CONNECT"
    ),
    "no ASCII in the path": request("/v2/é/images/detail".encode()),
    "no ASCII in the query": request(f"{LIST}?name=é".encode()),
    "no UTF-8 either": request(LIST.encode() + b"?name=\xff"),
}

REQUEST_ID = re.compile("req-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


CHANGES_EACH_TIME = {"date", "x-compute-request-id", "x-openstack-request-id"}


def lasting(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Give what is the same whenever the same is asked."""
    headers = {name: value for name, value in answer.headers.items() if name not in CHANGES_EACH_TIME}
    return answer.status, headers, answer.body


def test_a_connection_takes_one_request_after_another(connection: Connection) -> None:
    assert [len(connection.ask(request(f"{LIST}?limit={limit}")).images) for limit in range(1, 8)] == list(range(1, 8))


def test_an_answer_has_these_headers_and_no_others(connection: Connection) -> None:
    answer = connection.ask(request(LIST))
    assert sorted(answer.headers) == [
        "cache-control",
        "content-length",
        "content-type",
        "date",
        "etag",
        "vary",
        "x-compute-request-id",
        "x-openstack-request-id",
    ]
    assert answer.headers["content-type"] == "application/json"


def test_what_swagger_ui_is_made_of_is_served(connection: Connection) -> None:
    for name in ("", "swagger-ui.css", "swagger-ui-bundle.js"):
        assert connection.ask(request(f"/ui/{name}")).status == 200


def test_links_begin_with_the_setting_or_else_with_the_requests_host(connection: Connection) -> None:
    (image,) = connection.ask(request(f"{LIST}?limit=1", host="compute.test:8774")).document["images"]
    assert [link["href"].removesuffix(image["id"]) for link in image["links"]] == [
        "http://compute.test:8774/v2/openstack/images/",
        "http://compute.test:8774/openstack/images/",
        f"{GLANCE_URL}/openstack/images/",
    ]


def test_pipelined_requests_are_answered_in_order_and_each_by_its_own(service: Service, connection: Connection) -> None:
    alone = [lasting(ask(service.port, raw)) for raw in PIPELINED]
    assert [status for status, *_ in alone] == [200, 400, 200, 404, 200, 404, 200, 405, 400, 200]
    for _ in range(5):
        connection.send(*PIPELINED)
        assert [lasting(connection.receive()) for _ in PIPELINED] == alone


def test_requests_that_come_byte_by_byte_are_requests(connection: Connection) -> None:
    for byte in request(f"{LIST}?limit=2"):
        connection.send(bytes([byte]))
    assert len(connection.receive().images) == 2


@pytest.mark.parametrize("target", DOUBLED)
def test_a_path_with_slashes_before_it_is_not_found(connection: Connection, target: str) -> None:
    assert connection.ask(request(target)).fault == (404, "itemNotFound")


@pytest.mark.parametrize("target", DOUBLED)
def test_nor_is_it_right_after_a_good_request_on_the_connection(connection: Connection, target: str) -> None:
    for _ in range(5):
        connection.send(request(LIST), request(target), request(target), request(LIST))
        first, *doubled, last = (connection.receive() for _ in range(4))
        assert [answer.fault for answer in doubled] == [(404, "itemNotFound")] * 2
        assert lasting(first) == lasting(last)


@pytest.mark.parametrize(
    "target", [f"{LIST}/", f"{LIST}//", "/v2//openstack/images/detail", f"{LIST}/?limit=1", "/ui/."]
)
def test_a_slash_too_many_is_not_found_and_never_a_redirect(connection: Connection, target: str) -> None:
    answer = connection.ask(request(target))
    assert answer.fault == (404, "itemNotFound")
    assert "location" not in answer.headers


@pytest.mark.parametrize("target", [LIST, f"{LIST}?limit=x", "/nowhere", f"/{LIST}", "/openapi.json", "/ui/"])
def test_head_is_get_without_its_body(connection: Connection, target: str) -> None:
    status, headers, body = lasting(connection.ask(request(target)))
    assert lasting(connection.ask(request(target, method="HEAD"))) == (status, headers, b"")
    assert headers["content-length"] == str(len(body))
    assert connection.ask(request(f"{LIST}?limit=1")).status == 200


def test_head_can_be_pipelined(connection: Connection) -> None:
    connection.send(request(LIST, method="HEAD"), request(f"{LIST}?limit=1"), request("/nowhere", method="HEAD"))
    assert connection.receive(head=True).status == 200
    assert len(connection.receive().images) == 1
    assert connection.receive(head=True).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_a_wrong_method_is_told_the_right_ones(connection: Connection, method: str) -> None:
    answer = connection.ask(request("/v2/openstack/images", "Content-Length: 2", method=method) + b"{}")
    assert (answer.fault, answer.headers["allow"]) == ((405, "badMethod"), "GET, HEAD")
    assert connection.ask(request(f"{LIST}?limit=1")).status == 200


@pytest.mark.parametrize("content_type", [";;;", "", "a/b/c", "application/json; charset=nonsense"])
def test_the_content_type_of_a_get_is_harmless(connection: Connection, content_type: str) -> None:
    assert len(connection.ask(request(LIST, f"Content-Type: {content_type}")).images) == 7


def test_a_body_that_comes_with_a_get_is_passed_over(connection: Connection) -> None:
    connection.send(request(LIST, "Content-Length: 7"), b"{}\r\n\r\nX", request(f"{LIST}?limit=1"))
    assert [len(connection.receive().images) for _ in range(2)] == [7, 1]


@pytest.mark.parametrize("trailer", ["Host: other.test", "If-None-Match: *", "Content-Type: text/plain"])
def test_what_comes_after_a_body_is_no_header(connection: Connection, trailer: str) -> None:
    body = b"2\r\n{}\r\n0\r\n%b\r\n\r\n" % trailer.encode()
    assert len(connection.ask(request(LIST, "Transfer-Encoding: chunked") + body).images) == 7
    replacing = request("/v2/openstack/images/x/metadata", "Transfer-Encoding: chunked", method="PUT")
    assert connection.ask(replacing + body).fault == (400, "badRequest")  # the body is read, and lacks the metadata


def test_a_body_that_never_comes_keeps_no_get_waiting(service: Service) -> None:
    with Connection(service.port, patience=5) as connection:
        assert len(connection.ask(request(LIST, "Content-Length: 7")).images) == 7


def test_what_a_client_wants_to_upgrade_to_is_passed_over(connection: Connection) -> None:
    answer = connection.ask(
        request(LIST, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
    )
    assert len(answer.images) == 7
    assert len(connection.ask(request(f"{LIST}?limit=1")).images) == 1


def test_a_request_of_http_1_0_ends_the_connection(connection: Connection) -> None:
    answer = connection.ask(request(LIST).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (len(answer.images), answer.headers["connection"]) == (7, "close")
    assert connection.receive_if_any() is None


def test_a_client_can_end_the_connection(connection: Connection) -> None:
    answer = connection.ask(request(LIST, "Connection: close"))
    assert (len(answer.images), answer.headers["connection"]) == (7, "close")
    assert connection.receive_if_any() is None


@pytest.mark.parametrize("raw", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_is_a_bad_request_and_ends_the_connection(connection: Connection, raw: bytes) -> None:
    answer = connection.ask(raw)
    assert (answer.fault, answer.headers["connection"]) == ((400, "badRequest"), "close")
    Contract.load(secured=False).operations["listImagesDetails"].check_answer(400, answer.document)
    assert connection.receive_if_any() is None


def test_what_is_no_http_after_an_answer_is_answered_too(connection: Connection) -> None:
    assert [connection.ask(raw).status for raw in (request(LIST), NO_HTTP["no request line"])] == [200, 400]


def test_what_is_no_http_is_answered_after_the_requests_before_it(connection: Connection) -> None:
    connection.send(request(LIST), request(f"{LIST}?limit=1"), NO_HTTP["no request line"])
    answers = [connection.receive_if_any() for _ in range(3)]
    assert [answer and answer.status for answer in answers] == [200, 200, 400]


def test_every_answer_has_a_request_id_of_its_own(service: Service, connection: Connection) -> None:
    connection.send(*PIPELINED)
    answers = [connection.receive() for _ in PIPELINED]
    answers += [ask(service.port, raw) for raw in [*NO_HTTP.values(), request("/openapi.json"), request("/ui/")]]
    answers.append(ask(service.port, request(LIST, method="HEAD")))
    ids = [answer.headers["x-compute-request-id"] for answer in answers]
    assert [each for each in ids if not REQUEST_ID.fullmatch(each)] == []
    assert len(set(ids)) == len(answers)


def test_a_request_id_is_not_for_a_client_to_choose(connection: Connection) -> None:
    answer = connection.ask(request(LIST, "x-compute-request-id: req-mine"))
    assert REQUEST_ID.fullmatch(answer.headers["x-compute-request-id"])


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a:b", "a@b", "a,b", "[::1", "a%41", "*"])
def test_a_host_that_no_link_can_begin_with_is_a_bad_request(connection: Connection, host: str) -> None:
    answer = connection.ask(request(LIST, host=host))
    message = f"Header 'Host': '{host}' is not a host, with or without a port."
    assert answer.fault == (400, "badRequest")
    assert answer.document["badRequest"]["message"] == message
    assert connection.ask(request(LIST)).status == 200


def test_the_contract_is_served_as_it_is(connection: Connection) -> None:
    contract = Contract.load(secured=False)
    assert connection.ask(request("/openapi.yaml")).body == contract.yaml
    assert orjson.loads(connection.ask(request("/openapi.json")).body) == contract.document
