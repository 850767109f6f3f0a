"""The Glance client: its requests, valid and invalid responses, credentials, and the cloud's configuration."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson
import pytest
from keystoneauth1 import exceptions
from keystoneauth1.access import AccessInfoV3
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.loading import Opt
from keystoneauth1.noauth import NoAuth
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session
from requests import Response

from app.mirror.client import (
    CloudConfigError,
    GlanceClient,
    MarkerNotFound,
    UpstreamError,
)
from app.mirror.cloud import client_factory, connect, load_cloud_config
from tests.support.fake_glance import (
    CONNECTION_CLOSED,
    HIDDEN,
    NO_RESPONSE,
    FakeGlance,
    FakeResponse,
    glance_client,
    glance_image,
    running_glance,
)
from tests.support.images import image_id

PROJECTS = ["1" * 32, "2" * 32, "3" * 32, "4" * 32]
CALLER = "the caller's token"
FIRST_PAGE = "GET /v2/images?limit=1000&visibility=all"
IMAGE_PATH = f"/v2/images/{image_id(1)}"
UNREACHABLE = "http://127.0.0.1:1"


class Call(NamedTuple):
    """A call of the client, and the method and path of its request."""

    request: str
    run: Callable[[GlanceClient], Any]


CALLS = {
    "list_pages": Call("GET /v2/images", lambda client: list(client.list_pages())),
    "ping": Call("GET /v2/images", GlanceClient.ping),
    "get_image": Call(f"GET {IMAGE_PATH}", lambda client: client.get_image(image_id(1))),
    "list_members": Call(f"GET {IMAGE_PATH}/members", lambda client: client.list_members(image_id(1))),
    "patch_image": Call(f"PATCH {IMAGE_PATH}", lambda client: client.patch_image(image_id(1), [])),
    "delete_image": Call(f"DELETE {IMAGE_PATH}", lambda client: client.delete_image(image_id(1))),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture
def client(glance: FakeGlance) -> GlanceClient:
    return glance_client(glance.url, timeout=0.3)


def numbers(pages: Iterable[list[Any]]) -> list[list[int]]:
    return [[int(image["id"][-12:]) for image in page] for page in pages]


# --- pages ---


def test_all_images_are_listed_by_page_newest_first(glance: FakeGlance, client: GlanceClient) -> None:
    glance.page_size = 2
    glance.put(*(glance_image(number, created_at=f"202{number}-01-01T00:00:00Z") for number in (3, 1, 5, 2, 4)))
    assert numbers(client.list_pages()) == [[5, 4], [3, 2], [1]]
    assert glance.take_requests() == [FIRST_PAGE, *(f"{FIRST_PAGE}&marker={image_id(number)}" for number in (4, 2))]


def test_images_changed_since_a_time_are_listed(glance: FakeGlance, client: GlanceClient) -> None:
    glance.put(*(glance_image(number, updated_at=f"2020-01-01T00:00:0{number}Z") for number in (1, 2, 3)))
    assert numbers(client.list_pages("2020-01-01T00:00:02Z")) == [[3, 2]]
    assert glance.take_requests() == [f"{FIRST_PAGE}&updated_at=gte%3A2020-01-01T00%3A00%3A02Z"]


def test_hidden_images_follow_the_others(glance: FakeGlance, client: GlanceClient) -> None:
    glance.put(glance_image(1, os_hidden=True), glance_image(2))
    assert numbers(client.list_pages("2020-01-01T00:00:00Z")) == [[2], [1]]
    first = f"{FIRST_PAGE}&updated_at=gte%3A2020-01-01T00%3A00%3A00Z"
    assert [request.line for request in glance.requests] == [first, f"{first}{HIDDEN}"]


def test_visibilities_are_listed_one_by_one_where_glance_does_not_know_all(
    glance: FakeGlance, client: GlanceClient
) -> None:
    glance.visibilities.remove("all")
    glance.put(*(glance_image(number, visibility=word) for number, word in enumerate(glance.visibilities)))
    lists = [f"GET /v2/images?limit=1000&visibility={word}" for word in glance.visibilities]
    for expected in ([FIRST_PAGE, *lists], lists):
        assert numbers(client.list_pages()) == [[0], [1], [2], [3]]
        assert glance.take_requests() == expected


@pytest.mark.parametrize("link", ["/v2/images?{}", "http://127.0.0.1:1/v9/others?{}", "?{}", "x://:0?{}#a"])
def test_only_the_query_of_a_next_link_is_used(glance: FakeGlance, client: GlanceClient, link: str) -> None:
    query = f"marker={image_id(1)}&limit=7&visibility=all"
    glance.responses = {
        FIRST_PAGE: FakeResponse(200, {"images": [glance_image(1)], "next": link.format(query)}),
        f"GET /v2/images?{query}": FakeResponse(200, {"images": [glance_image(2)]}),
    }
    assert numbers(client.list_pages()) == [[1], [2]]
    assert glance.take_requests() == [FIRST_PAGE, f"GET /v2/images?{query}"]


def test_empty_next_link_ends_the_list(glance: FakeGlance, client: GlanceClient) -> None:
    glance.responses = {FIRST_PAGE: FakeResponse(200, {"images": [glance_image(1)], "next": ""})}
    assert numbers(client.list_pages()) == [[1]]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_pagination_loop_raises(glance: FakeGlance, client: GlanceClient, length: int) -> None:
    queries = ["limit=1000&visibility=all", "marker=a", "marker=b", "marker=c"][: length + 1]
    for query, next_ in zip(queries, [*queries[1:], queries[1]], strict=True):
        glance.responses[f"GET /v2/images?{query}"] = FakeResponse(200, {"images": [], "next": f"/v2/images?{next_}"})
    with pytest.raises(UpstreamError, match=r"^A pagination loop occurred at the image service$"):
        list(client.list_pages())
    assert glance.take_requests() == [f"GET /v2/images?{query}" for query in queries]


@pytest.mark.parametrize("status", [400, 404])
def test_deleted_marker_is_distinguished_from_other_failures(
    glance: FakeGlance, client: GlanceClient, status: int
) -> None:
    glance.page_size = 1
    glance.put(glance_image(1), glance_image(2))
    glance.responses[f"{FIRST_PAGE}&marker={image_id(2)}"] = FakeResponse(status)
    with pytest.raises(MarkerNotFound):
        list(client.list_pages())
    glance.responses = {"GET /v2/images": FakeResponse(status)}
    with pytest.raises(UpstreamError) as raised:
        list(client.list_pages())
    assert (type(raised.value), raised.value.status) == (UpstreamError, status)


MALFORMED_PAGES: dict[str, Any] = {
    "empty": b"",
    "null": None,
    "a list": [],
    "no images": {},
    "images that are null": {"images": None},
    "images in an object": {"images": {}},
    "a next link that is null": {"images": [], "next": None},
    "a next link that is a number": {"images": [], "next": 5},
    "a next link that is no URL": {"images": [], "next": "http://[?marker=a"},
    **{
        f"a next link without a marker: {link}": {"images": [glance_image(1)], "next": link}
        for link in ("/v2/images", "/v2/images?", "/v2/images?limit=1000", "?visibility=all", "#marker=a")
    },
}


@pytest.mark.parametrize("page", MALFORMED_PAGES.values(), ids=MALFORMED_PAGES)
def test_malformed_page_raises(glance: FakeGlance, client: GlanceClient, page: Any) -> None:
    glance.responses["GET /v2/images"] = FakeResponse(200, page)
    with pytest.raises(UpstreamError, match=r"^A malformed page occurred at the image service$"):
        list(client.list_pages())
    assert glance.take_requests() == [FIRST_PAGE]


def test_ping_lists_one_image(glance: FakeGlance, client: GlanceClient) -> None:
    client.ping()
    assert glance.take_requests() == ["GET /v2/images?limit=1"]


# --- single images ---


def test_image_is_returned_as_it_is_or_none(glance: FakeGlance, client: GlanceClient) -> None:
    glance.put(glance_image(1, a="b"))
    assert client.get_image(image_id(1)) == glance_image(1, a="b")
    assert client.get_image("../a?b#c/é") is None  # the id is escaped as one path segment
    assert glance.take_requests()[:2] == [f"GET {IMAGE_PATH}", "GET /v2/images/..%2Fa%3Fb%23c%2F%C3%A9"]


def test_members_are_returned_with_their_statuses(glance: FakeGlance, client: GlanceClient) -> None:
    glance.put(glance_image(1), glance_image(2))
    statuses = ["accepted", "pending", "rejected", "accepted"]
    glance.share(1, **dict(zip(PROJECTS, statuses, strict=True)))
    assert client.list_members(image_id(1)) == dict(zip(PROJECTS, statuses, strict=True))
    assert client.list_members(image_id(2)) == {}
    assert client.list_members(image_id(3)) is None


MALFORMED_MEMBERS: list[Any] = [
    *(None, 5, {"a": 1}, [None], ["x"], [[]], [{}], [{"member_id": PROJECTS[0]}], [{"status": "accepted"}])
]
MALFORMED_DOCUMENTS: list[Any] = [
    *([], {}, "", 0, False, None, "x"),
    *({"members": members} for members in MALFORMED_MEMBERS),
]


@pytest.mark.parametrize("document", MALFORMED_DOCUMENTS, ids=str)
def test_malformed_members_raise(glance: FakeGlance, client: GlanceClient, document: Any) -> None:
    glance.responses[f"GET {IMAGE_PATH}/members"] = FakeResponse(200, orjson.dumps(document))
    with pytest.raises(UpstreamError, match=r"^A malformed response occurred at the image service$"):
        client.list_members(image_id(1))


def test_patch_is_sent_as_json_patch_and_returns_the_image(glance: FakeGlance, client: GlanceClient) -> None:
    glance.put(glance_image(1, a="b"))
    patch = [{"remove": "/a"}, {"add": "/c", "value": "d"}]
    assert client.patch_image(image_id(1), patch) == glance_image(1, c="d")
    assert [(request.line, orjson.loads(request.body)) for request in glance.requests] == [
        (f"PATCH {IMAGE_PATH}", patch)
    ]


def test_image_is_deleted(glance: FakeGlance, client: GlanceClient) -> None:
    glance.put(glance_image(1))
    client.delete_image(image_id(1))
    assert (glance.take_requests(), glance.images) == ([f"DELETE {IMAGE_PATH}"], {})


# --- credentials ---


@pytest.mark.parametrize(("token", "sent"), [(CALLER, CALLER), (None, "notused")])  # keystoneauth's word for no token
def test_token_is_sent_instead_of_the_sessions_credentials(glance: FakeGlance, token: str | None, sent: str) -> None:
    glance.put(glance_image(1))
    for call in CALLS.values():
        call.run(glance_client(glance.url, token=token))
    assert {request.token for request in glance.requests} == {sent}


@each_call
def test_rejected_token_is_not_replaced_by_the_sessions_credentials(glance: FakeGlance, call: Call) -> None:
    glance.responses[call.request] = FakeResponse(401)
    with pytest.raises(UpstreamError) as raised:
        call.run(glance_client(glance.url, token=CALLER))
    assert raised.value.status == 401
    assert [request.token for request in glance.requests] == [CALLER]


def test_cookies_are_not_stored(glance: FakeGlance) -> None:
    session = Session()
    headers = ("Set-Cookie", "session=1; Path=/"), ("Content-Length", "0")
    glance.responses[f"DELETE {IMAGE_PATH}"] = FakeResponse(204, b"", headers)
    for token in ("a", "b"):
        GlanceClient(session, glance.url, token=token).delete_image(image_id(1))
    assert [(request.token, request.cookie) for request in glance.requests] == [("a", None), ("b", None)]


# --- failures ---


@each_call
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(glance: FakeGlance, client: GlanceClient, call: Call, status: int) -> None:
    with running_glance() as other:
        headers = ("Location", f"{other.url}{IMAGE_PATH}"), ("Content-Length", "0")
        glance.responses[call.request] = FakeResponse(status, b"", headers)
        with pytest.raises(UpstreamError, match=f"^A response with status {status} occurred at the image service$"):
            call.run(client)
        assert other.take_requests() == []


BODY = orjson.dumps(glance_image())
STATUSES = [300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 409, 410, 413, 429, 500, 502, 503]
FAILURES: dict[str, tuple[FakeResponse, str]] = {
    **{str(status): (FakeResponse(status), f"A response with status {status}") for status in STATUSES},
    "no response": (NO_RESPONSE, "A timeout"),
    "closed connection": (CONNECTION_CLOSED, "A connection failure"),
    "incomplete body": (FakeResponse(200, BODY, (("Content-Length", "9999"),)), "A connection failure"),
    "incomplete JSON": (FakeResponse(200, BODY[:-1]), "A malformed response"),
    "HTML": (FakeResponse(200, b"<html>"), "A malformed response"),
    "invalid UTF-8": (FakeResponse(200, b'"\xff"'), "A malformed response"),
}


@each_call
@pytest.mark.parametrize(("response", "reason"), FAILURES.values(), ids=FAILURES)
def test_failure_raises_with_its_reason(
    glance: FakeGlance, client: GlanceClient, call: Call, response: FakeResponse, reason: str
) -> None:
    glance.responses[call.request] = response
    with pytest.raises(UpstreamError, match=f"^{reason} occurred at the image service$") as raised:
        call.run(client)
    expected_status = response.status if response.status in STATUSES else None
    assert (raised.value.reason, raised.value.status) == (reason, expected_status)


@pytest.mark.parametrize("name", ["get_image", "list_members"])
@pytest.mark.parametrize("status", [200, 204])
def test_empty_response_is_malformed_not_a_missing_image(
    glance: FakeGlance, client: GlanceClient, name: str, status: int
) -> None:
    glance.responses[CALLS[name].request] = FakeResponse(status)
    with pytest.raises(UpstreamError, match=r"^A malformed response occurred at the image service$"):
        CALLS[name].run(client)


@each_call
def test_unreachable_server_is_a_connection_failure(call: Call) -> None:
    with pytest.raises(UpstreamError, match=r"^A connection failure occurred at the image service$"):
        call.run(glance_client(UNREACHABLE))


class FailingCredentials(NoAuth):
    """Credentials for which no token can be obtained."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def get_token(self, _session: Session) -> str:
        """Raise the error."""
        raise self._error


CONNECTION_ERRORS: list[Exception] = [
    *(exceptions.ConnectFailure(), exceptions.SSLError(), exceptions.UnknownConnectionError("x", ValueError())),
    *(exceptions.DiscoveryFailure(), exceptions.InvalidResponse(Response()), exceptions.AuthorizationFailure()),
    *(exceptions.EndpointNotFound(), exceptions.ClientException()),
]
KEYSTONE_ERRORS: list[tuple[Exception, str]] = [
    (exceptions.Unauthorized(), "An authentication failure"),
    (exceptions.ServiceUnavailable(), "An authentication failure"),
    (exceptions.ConnectTimeout(), "A timeout"),
    *((error, "A connection failure") for error in CONNECTION_ERRORS),
]


@pytest.mark.parametrize(("error", "reason"), KEYSTONE_ERRORS, ids=lambda value: type(value).__name__)
def test_keystone_error_is_an_upstream_error(glance: FakeGlance, error: Exception, reason: str) -> None:
    with pytest.raises(UpstreamError, match=f"^{reason} occurred at the image service$"):
        GlanceClient(Session(auth=FailingCredentials(error)), glance.url).ping()
    assert glance.take_requests() == []


PLUGIN_ERRORS: list[Exception] = [
    exceptions.MissingRequiredOptions([Opt("password")]),
    exceptions.MissingAuthPlugin("none"),
    exceptions.NoMatchingPlugin("x"),
    exceptions.UnsupportedParameters(["x"]),
]


@pytest.mark.parametrize("error", PLUGIN_ERRORS, ids=lambda error: type(error).__name__)
def test_unusable_credentials_are_a_configuration_error(glance: FakeGlance, error: Exception) -> None:
    with pytest.raises(CloudConfigError, match=f"^Invalid cloud configuration: {error}"):
        GlanceClient(Session(auth=FailingCredentials(error)), glance.url).ping()
    assert glance.take_requests() == []


def test_clients_of_one_session_send_requests_concurrently(glance: FakeGlance) -> None:
    session = Session()
    both = threading.Barrier(2, timeout=5)
    with ThreadPoolExecutor(2) as threads:
        for number in (1, 2):
            glance.put(glance_image(number))
            glance.before[f"GET /v2/images/{image_id(number)}"] = both.wait
            threads.submit(GlanceClient(session, glance.url, token=str(number)).get_image, image_id(number))
    assert not both.broken
    assert sorted((request.line[-1], request.token) for request in glance.requests) == [("1", "1"), ("2", "2")]


def test_members_have_a_timeout_of_ten_seconds_at_most(glance: FakeGlance, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float] = []
    session = Session(auth=NoAuth())
    request = session.request

    def record(*args: Any, timeout: float, **options: Any) -> Response:
        timeouts.append(timeout)
        return request(*args, timeout=timeout, **options)

    monkeypatch.setattr(session, "request", record)
    for timeout in (25, 5):
        GlanceClient(session, glance.url, timeout=timeout).list_members(image_id(1))
        GlanceClient(session, glance.url, timeout=timeout).get_image(image_id(1))
    assert timeouts == [10, 25, 5, 5]


# --- the cloud's configuration ---


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> pytest.MonkeyPatch:
    """Configure a cloud without credentials, and no other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OS_AUTH_TYPE", "none")
    return monkeypatch


def set_password_auth(environ: pytest.MonkeyPatch, *, override: bool, **variables: str) -> None:
    """Configure a Keystone that is unreachable, and the image service's URL if it overrides the service catalog."""
    defaults = {"AUTH_TYPE": "password", "AUTH_URL": f"{UNREACHABLE}/v3", "USERNAME": "u"}
    for name, value in (defaults | variables).items():
        environ.setenv(f"OS_{name}", value)
    if override:
        environ.setenv("OS_IMAGE_ENDPOINT_OVERRIDE", UNREACHABLE)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://a.test", "http://a.test"),
        ("http://a.test/", "http://a.test"),
        ("http://a.test/v2", "http://a.test"),
        ("http://a.test:9292/v2.9/", "http://a.test:9292"),
        ("http://a.test/image", "http://a.test/image"),
        ("http://a.test/image/v2/", "http://a.test/image"),
        ("http://a.test/volumes", "http://a.test/volumes"),
        ("http://a.test/v", "http://a.test/v"),
    ],
)
@pytest.mark.parametrize("variable", ["OS_IMAGE_ENDPOINT_OVERRIDE", "OS_ENDPOINT"])
def test_version_is_stripped_from_the_url(environ: pytest.MonkeyPatch, url: str, base: str, variable: str) -> None:
    environ.setenv(variable, url)
    assert connect(load_cloud_config()).url == base


def test_service_catalog_without_image_service_is_a_configuration_error(environ: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        CloudConfigError, match=r"^Invalid cloud configuration: the service catalog has no image service$"
    ):
        connect(load_cloud_config())


def test_unknown_cloud_name_is_a_configuration_error(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("OS_CLOUD", "none")
    with pytest.raises(CloudConfigError, match=r"^Invalid cloud configuration: Cloud none was not found"):
        load_cloud_config()


@pytest.mark.parametrize("override", [True, False])
def test_missing_password_is_detected_on_connect(environ: pytest.MonkeyPatch, override: bool) -> None:
    set_password_auth(environ, override=override)
    with pytest.raises(CloudConfigError, match=r"^Invalid cloud configuration: .*password"):
        connect(load_cloud_config())


@pytest.mark.parametrize("override", [True, False])
def test_unreachable_keystone_is_not_a_configuration_error(environ: pytest.MonkeyPatch, override: bool) -> None:
    domains = {"USER_DOMAIN_ID": "default", "PROJECT_DOMAIN_ID": "default"}
    set_password_auth(environ, override=override, **{"PASSWORD": "p", "PROJECT_NAME": "p", **domains})
    with pytest.raises(UpstreamError, match=r"^A connection failure occurred at the image service$"):
        connect(load_cloud_config())


class FakeCredentials(BaseIdentityPlugin):
    """Credentials whose token has some roles."""

    def __init__(self, *roles: str) -> None:
        super().__init__()
        named = {"roles": [{"id": role, "name": role} for role in roles]} if roles else {}
        self._token = {"expires_at": "2100-01-01T00:00:00.000000Z"} | named

    def get_auth_ref(self, _session: Session) -> AccessInfoV3:
        """Return the token."""
        return AccessInfoV3({"token": self._token}, CALLER)

    def get_cache_id_elements(self) -> dict[str, str | None]:
        """Return nothing: no token is cached."""
        return {}


def region(credentials: BaseAuthPlugin) -> Any:
    """Return a cloud's configuration with some credentials."""
    session = Session(auth=credentials)
    return SimpleNamespace(get_session=lambda: session, get_endpoint=lambda _service: "http://glance.test")


@pytest.mark.parametrize(
    ("credentials", "is_admin"),
    [
        (FakeCredentials("admin"), True),
        (FakeCredentials("reader", "admin", "member"), True),
        (FakeCredentials("Admin"), True),
        (FakeCredentials("reader", "member"), False),
        (FakeCredentials("Administrator", "admins", "project_admin"), False),
        (FakeCredentials(), False),
        (NoAuth(), False),
    ],
    ids=[
        "admin",
        "admin among others",
        "admin in another case",
        "other roles",
        "similar names",
        "no roles",
        "no credentials",
    ],
)
def test_admin_role_of_the_token_makes_the_client_admin(credentials: BaseAuthPlugin, is_admin: bool) -> None:
    assert connect(region(credentials)).is_admin is is_admin


@pytest.mark.parametrize("error", [*PLUGIN_ERRORS, ValueError("odd")], ids=lambda error: type(error).__name__)
def test_unexpected_error_on_connect_is_a_configuration_error(error: Exception) -> None:
    with pytest.raises(CloudConfigError) as raised:
        connect(region(FailingCredentials(error)))
    assert str(raised.value) == f"Invalid cloud configuration: {error}"


def test_client_factory_reads_the_configuration_once_when_a_client_is_built() -> None:
    regions: list[Any] = []

    def load() -> Any:
        regions.append(region(NoAuth()))
        return regions[-1]

    factory = client_factory(load)
    assert regions == []
    clients = factory("http://a.test", "a", 5), factory("http://b.test", "b", 6)
    assert (len(regions), [client.url for client in clients]) == (1, ["http://a.test", "http://b.test"])
