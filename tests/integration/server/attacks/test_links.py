"""Where links lead: to the addresses that the settings have, whatever a request says of its own."""

import sys
from collections.abc import Iterator
from urllib.parse import parse_qsl

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, serving
from tests.integration.server.wire import Answer, Connection, percent_encoded, request
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
    "Forwarded: for=192.0.2.1;host=evil.test;proto=https",
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Server: evil.test",
    "X-Forwarded-Port: 666",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-For: evil.test",
    "X-Forwarded-Ssl: on",
    "X-Forwarded-Scheme: https",
    "X-Url-Scheme: https",
    "Front-End-Https: on",
    "X-Host: evil.test",
    "X-Original-Host: evil.test",
    "X-Original-Url: /evil",
    "X-Rewrite-Url: /evil",
    "X-Script-Name: /evil",
    "Script-Name: /evil",
    "X-Http-Method-Override: DELETE",
    "X-Real-Ip: 192.0.2.1",
    "Origin: http://evil.test",
    "Referer: http://evil.test/",
    "Base-Url: http://evil.test",
]

STRANGER = "127.0.0.2"  # an address of this machine that no proxy is expected at


def said(answer: Answer) -> tuple[int, bytes]:
    return answer.status, answer.body


def links(connection: Connection, *headers: str) -> str:
    """Ask for the version, and give what its link begins with."""
    (link,) = connection.ask(request("/v2", *headers)).document["version"]["links"]
    return str(link["href"].removesuffix("/v2/"))


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that knows its addresses, and takes parameters that it does not know."""
    folder = tmp_path_factory.mktemp("configured")
    with serving(
        folder, IMAGES_COMPUTE_URL=COMPUTE, IMAGES_GLANCE_URL=GLANCE, IMAGES_UNKNOWN_PARAMETERS="ignore"
    ) as running:
        yield running


@pytest.mark.parametrize("path", WITH_LINKS)
def test_no_host_reaches_a_link_of_a_service_that_knows_its_addresses(configured: Service, path: str) -> None:
    with Connection(configured.port) as connection:
        expected = said(connection.ask(request(path)))
        for host in HOSTS:
            assert said(connection.ask(request(path, host=host))) == expected
        for url in ("http://evil.test", "https://evil.test:1", "ftp://evil.test"):
            assert said(connection.ask(request(f"{url}{path}"))) == expected
        for header in [*HEADERS, "X-Forwarded-Proto: http"]:
            assert said(connection.ask(request(path, header, host="evil.test"))) == expected


def test_what_a_query_repeats_in_the_link_to_the_next_page_stays_in_that_query(configured: Service) -> None:
    with Connection(configured.port) as connection:
        for text in ("//evil.test", "\r\nX-evil: 1", "#evil", "&marker=evil", "https://evil.test"):
            name = percent_encoded(text)
            answer = connection.ask(request(f"{LIST}?limit=1&{name}={name}"))
            (link,) = answer.document["images_links"]
            begin, query = link["href"].split("?")
            assert begin == f"{COMPUTE}{LIST}"
            assert parse_qsl(query) == [("limit", "1"), (text, text), ("marker", answer.images[0])]


@pytest.mark.parametrize("host", HOSTS)
def test_a_redirect_names_no_host(connection: Connection, host: str) -> None:
    for path in ("/ui", "http://evil.test/ui", "/ui?next=//evil.test"):
        answer = connection.ask(request(path, "X-Forwarded-Host: evil.test", host=host))
        assert (answer.status, answer.headers["location"], answer.body) == (307, "ui/", b"")


@pytest.mark.parametrize("path", [f"{LIST}?limit=1", "/nowhere"])
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_only_proxies_send_changes_nothing(connection: Connection, path: str, header: str) -> None:
    assert said(connection.ask(request(path, header))) == said(connection.ask(request(path)))


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("https", "https"),
        ("http", "http"),
        ("wss", "https"),
        ("ws", "http"),
        ("HTTPS", "http"),
        ("https, http", "http"),
        ("javascript", "http"),
        ("https://evil.test/", "http"),
        ("", "http"),
    ],
)
def test_a_proxy_on_this_machine_is_believed_that_it_was_asked_by_https_and_no_more(
    connection: Connection, proto: str, scheme: str
) -> None:
    assert links(connection, f"X-Forwarded-Proto: {proto}") == f"{scheme}://compute.test"
    assert links(connection) == "http://compute.test"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 for this machine")
def test_nobody_elsewhere_is_believed_that(target: Service) -> None:
    with Connection(target.port, source=STRANGER) as connection:
        assert links(connection, "X-Forwarded-Proto: https") == "http://compute.test"
        assert links(connection, "X-Forwarded-Proto: https", "X-Forwarded-For: 127.0.0.1") == "http://compute.test"
