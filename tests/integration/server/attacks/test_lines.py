"""Line breaks and terminal codes in requests do not reach headers, faults or the log unescaped."""

import pytest

from tests.integration.server.attacks.texts import LINES
from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, until
from tests.integration.server.wire import Connection, percent_encoded, request
from tests.support.images import image_id

PLACES = {
    "a filter": f"{LIST}?name={{}}",
    "a filter with an enum": f"{LIST}?status={{}}",
    "the name of a filter": f"{LIST}?{{}}=1",
    "the project": "/v2/{}/images",
    "the image": "/v2/openstack/images/{}",
    "the bookmarked image": "/openstack/images/{}",
    "the item": f"/v2/openstack/images/{image_id(1)}/metadata/{{}}",
    "the path": "/v2/{}",
    "the path of a file": "/ui/{}",
}

ALWAYS = ["date", "x-compute-request-id", "x-content-type-options", "x-openstack-request-id"]
FAULT = ["content-length", "content-type", *ALWAYS]
SUCCESS = sorted([*FAULT, "cache-control", "etag", "vary"])


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_request_data_is_escaped_in_response_and_log(target: Service, connection: Connection, place: str) -> None:
    logged = []
    for text in LINES:
        path = place.format(percent_encoded(text))
        response = connection.fetch(request(path))
        assert sorted(response.headers) == (SUCCESS if response.status == 200 else FAULT)
        assert "evil" not in "".join(response.headers.values())
        assert response.body.decode().isprintable()
        assert connection.fetch(request("/v2")).status == 200
        logged.append(f" GET {path} {response.status} ")
    until(lambda: all(each in target.log for each in logged))


@pytest.mark.parametrize("host", ["a%0d%0aX-evil:1", "a\tX-evil:1", "a#X-evil", "a\\X-evil", "a'X-evil", 'a"X-evil'])
def test_host_with_other_characters_is_rejected(connection: Connection, host: str) -> None:
    response = connection.fetch(request(LIST, host=host))
    assert response.fault == (400, "badRequest")
    assert sorted(response.headers) == FAULT
    assert connection.fetch(request(LIST)).status == 200


@pytest.mark.parametrize(
    "header", ["If-None-Match", "Accept-Encoding", "Content-Type", "User-Agent", "X-Compute-Request-Id"]
)
def test_request_headers_are_not_reflected(connection: Connection, header: str) -> None:
    response = connection.fetch(request(LIST, f'{header}: "evil", evil; evil=evil'))
    assert (sorted(response.headers), response.headers["content-type"]) == (SUCCESS, "application/json")
    assert "evil" not in "".join(response.headers.values())
