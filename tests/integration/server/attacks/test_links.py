"""Links use the URLs of the settings, whatever the headers of a request say."""

import sys
from collections.abc import Iterator
from urllib.parse import parse_qsl

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, serving
from tests.integration.server.wire import Connection, Response, percent_encoded, request
from tests.support.images import image_id

COMPUTE, GLANCE = "https://compute.example.com/api", "https://glance.example.com"

WITH_LINKS = [
    "/",
    "/v2",
    "/v2/",
    LIST,
    f"{LIST}?limit=1",
    "/v2/openstack/images",
    f"/v2/openstack/images/{image_id(1)}",
]

HOSTS = ["evil.test", "evil.test:1", "evil.test@compute.example.com", "evil test", "evil.test/a", "", "[::1", "*"]

HEADERS = [
    *("Forwarded: for=192.0.2.1;host=evil.test;proto=https", "X-Forwarded-Host: evil.test"),
    *("X-Forwarded-Server: evil.test", "X-Forwarded-Port: 666", "X-Forwarded-Prefix: /evil"),
    *("X-Forwarded-For: evil.test", "X-Forwarded-Ssl: on", "X-Forwarded-Scheme: https", "X-Url-Scheme: https"),
    *("Front-End-Https: on", "X-Host: evil.test", "X-Original-Host: evil.test", "X-Original-Url: /evil"),
    *("X-Rewrite-Url: /evil", "X-Script-Name: /evil", "Script-Name: /evil", "X-Http-Method-Override: DELETE"),
    *("X-Real-Ip: 192.0.2.1", "Origin: http://evil.test", "Referer: http://evil.test/", "Base-Url: http://evil.test"),
]

UNTRUSTED = "127.0.0.2"  # a loopback address that is not a trusted proxy


def content(response: Response) -> tuple[int, bytes]:
    return response.status, response.body


def links(connection: Connection, *headers: str) -> str:
    (link,) = connection.fetch(request("/v2", *headers)).document["version"]["links"]
    return str(link["href"].removesuffix("/v2/"))


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with URLs in its settings, which ignores unknown parameters."""
    folder = tmp_path_factory.mktemp("configured")
    with serving(
        folder, IMAGES_COMPUTE_URL=COMPUTE, IMAGES_GLANCE_URL=GLANCE, IMAGES_UNKNOWN_PARAMETERS="ignore"
    ) as running:
        yield running


@pytest.mark.parametrize("path", WITH_LINKS)
def test_host_does_not_affect_links_if_url_is_set(configured: Service, path: str) -> None:
    with Connection(configured.port) as connection:
        expected = content(connection.fetch(request(path)))
        for host in HOSTS:
            assert content(connection.fetch(request(path, host=host))) == expected
        for url in ("http://evil.test", "https://evil.test:1", "ftp://evil.test"):
            assert content(connection.fetch(request(f"{url}{path}"))) == expected
        for header in [*HEADERS, "X-Forwarded-Proto: http"]:
            assert content(connection.fetch(request(path, header, host="evil.test"))) == expected


def test_query_is_encoded_in_link_to_next_page(configured: Service) -> None:
    with Connection(configured.port) as connection:
        for text in ("//evil.test", "\r\nX-evil: 1", "#evil", "&marker=evil", "https://evil.test"):
            name = percent_encoded(text)
            response = connection.fetch(request(f"{LIST}?limit=1&{name}={name}"))
            (link,) = response.document["images_links"]
            begin, query = link["href"].split("?")
            assert begin == f"{COMPUTE}{LIST}"
            assert parse_qsl(query) == [("limit", "1"), (text, text), ("marker", response.images[0])]


@pytest.mark.parametrize("host", HOSTS)
def test_redirect_is_relative(connection: Connection, host: str) -> None:
    for path in ("/ui", "http://evil.test/ui", "/ui?next=//evil.test"):
        response = connection.fetch(request(path, "X-Forwarded-Host: evil.test", host=host))
        assert (response.status, response.headers["location"], response.body) == (307, "ui/", b"")


@pytest.mark.parametrize("path", [f"{LIST}?limit=1", "/nowhere"])
@pytest.mark.parametrize("header", HEADERS)
def test_proxy_headers_are_ignored(connection: Connection, path: str, header: str) -> None:
    assert content(connection.fetch(request(path, header))) == content(connection.fetch(request(path)))


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("https", "https"),
        ("http", "http"),
        ("wss", "https"),
        ("ws", "http"),
        ("HTTPS", "http"),
        ("https, http", "https"),
        ("https,http,http", "https"),
        ("https\r\nX-Forwarded-Proto: http", "https"),
        ("http, https", "http"),
        (", https", "http"),
        ("javascript", "http"),
        ("https://evil.test/", "http"),
        ("", "http"),
    ],
)
def test_local_proxy_can_set_the_scheme_only(connection: Connection, proto: str, scheme: str) -> None:
    assert links(connection, f"X-Forwarded-Proto: {proto}") == f"{scheme}://compute.test"
    assert links(connection) == "http://compute.test"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux assigns all of 127.0.0.0/8 to loopback")
def test_other_clients_cannot_set_the_scheme(target: Service) -> None:
    with Connection(target.port, source=UNTRUSTED) as connection:
        assert links(connection, "X-Forwarded-Proto: https") == "http://compute.test"
        assert links(connection, "X-Forwarded-Proto: https", "X-Forwarded-For: 127.0.0.1") == "http://compute.test"
