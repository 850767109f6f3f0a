"""Line breaks, and what else moves a terminal: they break no header, no fault, and no line of a log."""

import pytest

from tests.integration.server.attacks.texts import LINES
from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service
from tests.integration.server.wire import Connection, percent_encoded, request
from tests.support.images import image_id

PLACES = {
    "a filter": f"{LIST}?name={{}}",
    "a filter that takes words": f"{LIST}?status={{}}",
    "the name of a filter": f"{LIST}?{{}}=1",
    "the tenant": "/v2/{}/images",
    "the image": "/v2/openstack/images/{}",
    "the bookmarked image": "/openstack/images/{}",
    "the item": f"/v2/openstack/images/{image_id(1)}/metadata/{{}}",
    "the path": "/v2/{}",
    "the path of a page": "/ui/{}",
}

FAULT = ["content-length", "content-type", "date", "x-compute-request-id", "x-openstack-request-id"]
ANSWER = sorted([*FAULT, "cache-control", "etag", "vary"])


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_what_came_in_a_request_is_escaped_in_its_answer_and_in_the_log(
    target: Service, connection: Connection, place: str
) -> None:
    for text in LINES:
        path = place.format(percent_encoded(text))
        answer = connection.ask(request(path))
        assert sorted(answer.headers) == (ANSWER if answer.status == 200 else FAULT)
        assert "evil" not in "".join(answer.headers.values())
        assert answer.body.decode().isprintable()
        assert connection.ask(request("/v2")).status == 200
        assert f" GET {path} {answer.status} " in target.log


@pytest.mark.parametrize("host", ["a%0d%0aX-evil:1", "a\tX-evil:1", "a#X-evil", "a\\X-evil", "a'X-evil", 'a"X-evil'])
def test_a_host_is_no_more_than_a_host(connection: Connection, host: str) -> None:
    answer = connection.ask(request(LIST, host=host))
    assert answer.fault == (400, "badRequest")
    assert sorted(answer.headers) == FAULT
    assert connection.ask(request(LIST)).status == 200


@pytest.mark.parametrize(
    "header", ["If-None-Match", "Accept-Encoding", "Content-Type", "User-Agent", "X-Compute-Request-Id"]
)
def test_a_header_of_a_request_comes_back_in_none_of_the_answer(connection: Connection, header: str) -> None:
    answer = connection.ask(request(LIST, f'{header}: "evil", evil; evil=evil'))
    assert sorted(answer.headers) == ANSWER
    assert "evil" not in "".join(answer.headers.values())
