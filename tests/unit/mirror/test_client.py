"""How a Glance is asked: what is sent, which answers are taken, and what is said of the others."""

import threading
from collections.abc import Callable, Iterator
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

from app.mirror.client import CloudConfigError, GlanceClient, MarkerNotFound, UpstreamError, connect, load_cloud_config
from tests.support.fake_glance import NOTHING, SILENCE, Said, Stand, glance_at, glance_image, standing
from tests.support.images import image_id

ME, YOU, THEM = "1" * 32, "2" * 32, "3" * 32
CALLERS = "the caller's token"
FIRST_PAGE = "GET /v2/images?limit=1000&visibility=all"
ONE = f"/v2/images/{image_id(1)}"


class Way(NamedTuple):
    """Something that a Glance is asked, and the method and path of the request."""

    request: str
    ask: Callable[[GlanceClient], Any]


WAYS = {
    "page": Way("GET /v2/images", lambda glance: list(glance.pages())),
    "check": Way("GET /v2/images", GlanceClient.check),
    "image": Way(f"GET {ONE}", lambda glance: glance.image(image_id(1))),
    "members": Way(f"GET {ONE}/members", lambda glance: glance.members(image_id(1))),
    "patch": Way(f"PATCH {ONE}", lambda glance: glance.patch(image_id(1), [])),
    "delete": Way(f"DELETE {ONE}", lambda glance: glance.delete(image_id(1))),
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@pytest.fixture
def stand() -> Iterator[Stand]:
    with standing() as stand:
        yield stand


@pytest.fixture
def glance(stand: Stand) -> GlanceClient:
    return glance_at(stand.url, answer_in=0.3)


def ids(pages: Iterator[list[Any]]) -> list[list[int]]:
    return [[int(image["id"][-12:]) for image in page] for page in pages]


# --- pages ---


def test_all_images_are_given_a_page_at_a_time_the_newest_first(stand: Stand, glance: GlanceClient) -> None:
    stand.page = 2
    stand.put(*(glance_image(number, created_at=f"202{number}-01-01T00:00:00Z") for number in (3, 1, 5, 2, 4)))
    assert ids(glance.pages()) == [[5, 4], [3, 2], [1]]
    assert stand.asked == [FIRST_PAGE, *(f"{FIRST_PAGE}&marker={image_id(number)}" for number in (4, 2))]


def test_those_are_given_that_changed_at_a_time_or_later(stand: Stand, glance: GlanceClient) -> None:
    times = ("2020-01-01T00:00:00Z", "2020-01-01T00:00:01Z", "2020-01-01T00:00:02Z")
    stand.put(*(glance_image(number, updated_at=time) for number, time in enumerate(times, 1)))
    assert ids(glance.pages("2020-01-01T00:00:01Z")) == [[3, 2]]
    assert stand.asked == [f"{FIRST_PAGE}&updated_at=gte%3A2020-01-01T00%3A00%3A01Z"]


@pytest.mark.parametrize("next_", ["/v2/images?{}", "http://127.0.0.1:1/v9/others?{}", "?{}", "x://:0?{}#a"])
def test_of_the_link_to_the_next_page_the_query_alone_is_followed(
    stand: Stand, glance: GlanceClient, next_: str
) -> None:
    query = f"marker={image_id(1)}&limit=7&visibility=all"
    stand.says = {
        FIRST_PAGE: Said(200, {"images": [glance_image(1)], "next": next_.format(query)}),
        f"GET /v2/images?{query}": Said(200, {"images": [glance_image(2)]}),
    }
    assert ids(glance.pages()) == [[1], [2]]
    assert stand.asked == [FIRST_PAGE, f"GET /v2/images?{query}"]


def test_a_link_that_is_empty_leads_nowhere(stand: Stand, glance: GlanceClient) -> None:
    stand.says = {FIRST_PAGE: Said(200, {"images": [glance_image(1)], "next": ""})}
    assert ids(glance.pages()) == [[1]]


@pytest.mark.parametrize(
    "next_", ["/v2/images", "/v2/images?", "/v2/images?limit=1000", "?visibility=all", "#marker=a"]
)
def test_a_link_that_leads_to_the_first_page_is_a_failure(stand: Stand, glance: GlanceClient, next_: str) -> None:
    stand.says = {FIRST_PAGE: Said(200, {"images": [glance_image(1)], "next": next_})}
    with pytest.raises(UpstreamError, match=r"^A malformed page occurred$"):
        list(glance.pages())
    assert stand.asked == [FIRST_PAGE]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_page_that_comes_again_is_a_failure(stand: Stand, glance: GlanceClient, length: int) -> None:
    queries = ["limit=1000&visibility=all", "marker=a", "marker=b", "marker=c"][: length + 1]
    for query, next_ in zip(queries, [*queries[1:], queries[1]], strict=True):
        stand.says[f"GET /v2/images?{query}"] = Said(200, {"images": [], "next": f"/v2/images?{next_}"})
    with pytest.raises(UpstreamError, match=r"^A page that came before occurred$"):
        list(glance.pages())
    assert stand.asked == [f"GET /v2/images?{query}" for query in queries]


@pytest.mark.parametrize("status", [400, 404])
def test_a_marker_that_is_gone_is_told_from_other_failures(stand: Stand, glance: GlanceClient, status: int) -> None:
    stand.page = 1
    stand.put(glance_image(1), glance_image(2))
    stand.says[f"{FIRST_PAGE}&marker={image_id(2)}"] = Said(status)
    with pytest.raises(MarkerNotFound):
        list(glance.pages())
    stand.says = {FIRST_PAGE: Said(status)}
    with pytest.raises(UpstreamError) as failed:
        list(glance.pages())
    assert (type(failed.value), failed.value.status) == (UpstreamError, status)


PAGES: dict[str, Any] = {
    "empty": b"",
    "null": None,
    "a list": [],
    "no images": {},
    "images that are none": {"images": None},
    "an object of images": {"images": {}},
    "a next that is null": {"images": [], "next": None},
    "a next that is a number": {"images": [], "next": 5},
    "a next that is no URL": {"images": [], "next": "http://[?marker=a"},
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_what_is_no_page_is_a_failure(stand: Stand, glance: GlanceClient, page: Any) -> None:
    stand.says["GET /v2/images"] = Said(200, page)
    with pytest.raises(UpstreamError, match=r"^A malformed page occurred$"):
        list(glance.pages())


def test_a_glance_is_checked_by_one_image(stand: Stand, glance: GlanceClient) -> None:
    glance.check()
    assert stand.asked == ["GET /v2/images?limit=1"]


# --- single images ---


def test_an_image_is_given_as_it_is(stand: Stand, glance: GlanceClient) -> None:
    stand.put(glance_image(1, a="b"))
    assert glance.image(image_id(1)) == glance_image(1, a="b")
    assert glance.image(image_id(2)) is None


def test_the_members_are_those_that_accepted(stand: Stand, glance: GlanceClient) -> None:
    stand.put(glance_image(1), glance_image(2))
    stand.share(1, **{ME: "accepted", YOU: "pending", THEM: "rejected", "4" * 32: "accepted"})
    assert glance.members(image_id(1)) == [ME, "4" * 32]
    assert glance.members(image_id(2)) == []
    assert glance.members(image_id(3)) is None


NO_MEMBERS: list[Any] = [None, 5, {"a": 1}, [None], ["x"], [[]], [{}], [{"member_id": ME}], [{"status": "accepted"}]]
NO_DOCUMENTS: list[Any] = [[], {}, "", 0, False, None, "x", *({"members": members} for members in NO_MEMBERS)]


@pytest.mark.parametrize("document", NO_DOCUMENTS, ids=str)
def test_what_are_no_members_is_a_failure(stand: Stand, glance: GlanceClient, document: Any) -> None:
    stand.says[f"GET {ONE}/members"] = Said(200, orjson.dumps(document))
    with pytest.raises(UpstreamError, match=r"^A malformed answer occurred$"):
        glance.members(image_id(1))


def test_a_change_is_sent_as_a_json_patch_and_answered_with_the_image(stand: Stand, glance: GlanceClient) -> None:
    stand.put(glance_image(1, a="b"))
    changes = [{"op": "remove", "path": "/a"}, {"op": "add", "path": "/c", "value": "d"}]
    assert glance.patch(image_id(1), changes) == glance_image(1, c="d")
    assert [(each.what, orjson.loads(each.body)) for each in stand.requests] == [(f"PATCH {ONE}", changes)]


def test_an_image_is_deleted(stand: Stand, glance: GlanceClient) -> None:
    stand.put(glance_image(1))
    glance.delete(image_id(1))
    assert (stand.asked, stand.images) == ([f"DELETE {ONE}"], {})


def test_an_id_is_one_part_of_a_path_whatever_it_is(stand: Stand, glance: GlanceClient) -> None:
    glance.image("../a?b#c/é")
    assert stand.asked == ["GET /v2/images/..%2Fa%3Fb%23c%2F%C3%A9"]


# --- who asks ---


def test_a_token_that_is_given_is_sent_and_no_other(stand: Stand) -> None:
    stand.put(glance_image(1))
    for way in WAYS.values():
        way.ask(GlanceClient(Session(auth=NoAuth()), stand.url, token=CALLERS))
    assert {request.token for request in stand.requests} == {CALLERS}


def test_the_own_credentials_are_used_where_none_is_given(stand: Stand) -> None:
    stand.put(glance_image(1))
    for way in WAYS.values():
        way.ask(GlanceClient(Session(auth=NoAuth()), stand.url))
    assert {request.token for request in stand.requests} == {"notused"}  # which is the word for no token


@each_way
def test_a_refused_token_is_not_replaced_by_the_own_credentials(stand: Stand, way: Way) -> None:
    stand.says[way.request] = Said(401)
    with pytest.raises(UpstreamError) as failed:
        way.ask(GlanceClient(Session(auth=NoAuth()), stand.url, token=CALLERS))
    assert failed.value.status == 401
    assert [request.token for request in stand.requests] == [CALLERS]


def test_no_cookies_are_kept(stand: Stand) -> None:
    session = Session()
    cookie = ("Set-Cookie", "session=theirs; Path=/"), ("Content-Length", "0")
    stand.says[f"DELETE {ONE}"] = Said(204, b"", cookie)
    for caller in (ME, YOU):
        GlanceClient(session, stand.url, token=caller).delete(image_id(1))
    assert [(request.token, request.cookie) for request in stand.requests] == [(ME, None), (YOU, None)]


# --- what is no answer ---


@each_way
@pytest.mark.parametrize("status", [300, 304, 400, 401, 403, 409, 410, 413, 429, 500, 502, 503])
def test_another_status_than_one_that_all_went_well_is_a_failure(
    stand: Stand, glance: GlanceClient, way: Way, status: int
) -> None:
    stand.says[way.request] = Said(status)
    with pytest.raises(UpstreamError, match=f"^An answer with status {status} occurred$") as failed:
        way.ask(glance)
    assert failed.value.status == status


@each_way
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("somewhere", [True, False])
def test_nothing_is_sent_elsewhere(stand: Stand, glance: GlanceClient, way: Way, status: int, somewhere: bool) -> None:
    with standing() as other:
        headers = (("Location", f"{other.url}{ONE}"), ("Content-Length", "0")) if somewhere else ()
        stand.says[way.request] = Said(status, b"", headers)
        with pytest.raises(UpstreamError, match=f"^An answer with status {status} occurred$"):
            way.ask(glance)
        assert other.asked == []


BODY = orjson.dumps(glance_image())
FAILURES: dict[str, tuple[Said, str]] = {
    "silence": (SILENCE, "A timeout"),
    "the end of the connection": (NOTHING, "A failure of the connection"),
    "a body that ends early": (Said(200, BODY, (("Content-Length", "9999"),)), "A failure of the connection"),
    "JSON that ends early": (Said(200, BODY[:-1]), "A malformed answer"),
    "HTML": (Said(200, b"<html>"), "A malformed answer"),
    "text that is none": (Said(200, b'"\xff"'), "A malformed answer"),
}


@each_way
@pytest.mark.parametrize(("said", "what"), FAILURES.values(), ids=FAILURES)
def test_what_is_no_answer_is_a_failure(stand: Stand, glance: GlanceClient, way: Way, said: Said, what: str) -> None:
    stand.says[way.request] = said
    with pytest.raises(UpstreamError, match=f"^{what} occurred$") as failed:
        way.ask(glance)
    assert (failed.value.what, failed.value.status) == (what, None)


@pytest.mark.parametrize("way", [WAYS["image"], WAYS["members"]], ids=["image", "members"])
@pytest.mark.parametrize("status", [200, 204])
def test_an_answer_without_a_document_is_not_that_nothing_is_there(
    stand: Stand, glance: GlanceClient, way: Way, status: int
) -> None:
    stand.says[way.request] = Said(status)
    with pytest.raises(UpstreamError, match=r"^A malformed answer occurred$"):
        way.ask(glance)


@each_way
def test_who_is_not_there_is_a_failure_of_the_connection(way: Way) -> None:
    with pytest.raises(UpstreamError, match=r"^A failure of the connection occurred$"):
        way.ask(glance_at("http://127.0.0.1:1"))


CREDENTIALS: list[tuple[Exception, str]] = [
    (exceptions.Unauthorized(), "A refusal of the credentials"),
    (exceptions.ServiceUnavailable(), "A refusal of the credentials"),
    (exceptions.ConnectTimeout(), "A timeout"),
    (exceptions.ConnectFailure(), "A failure of the connection"),
    (exceptions.SSLError(), "A failure of the connection"),
    (exceptions.UnknownConnectionError("x", ValueError()), "A failure of the connection"),
    (exceptions.DiscoveryFailure(), "A failure of the connection"),
    (exceptions.InvalidResponse(Response()), "A failure of the connection"),
    (exceptions.AuthorizationFailure(), "A failure of the connection"),
    (exceptions.EndpointNotFound(), "A failure of the connection"),
    (exceptions.ClientException(), "A failure of the connection"),
]


class Refused(NoAuth):
    """Stands where credentials are used in vain."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def get_token(self, _session: Session) -> str:
        """Fail."""
        raise self._error


@pytest.mark.parametrize(("error", "what"), CREDENTIALS, ids=lambda value: type(value).__name__)
def test_a_keystone_that_gives_no_token_is_a_failure(stand: Stand, error: Exception, what: str) -> None:
    with pytest.raises(UpstreamError, match=f"^{what} occurred$"):
        GlanceClient(Session(auth=Refused(error)), stand.url).check()
    assert stand.asked == []


UNUSABLE: list[Exception] = [
    exceptions.MissingRequiredOptions([Opt("password")]),
    exceptions.MissingAuthPlugin("none"),
    exceptions.NoMatchingPlugin("x"),
    exceptions.UnsupportedParameters(["x"]),
]


@pytest.mark.parametrize("error", UNUSABLE, ids=lambda error: type(error).__name__)
def test_credentials_that_can_never_give_a_token_are_a_cloud_that_cannot_be_used(
    stand: Stand, error: Exception
) -> None:
    with pytest.raises(CloudConfigError, match=f"^The cloud cannot be used: {error}"):
        GlanceClient(Session(auth=Refused(error)), stand.url).check()
    assert stand.asked == []


def test_callers_ask_at_the_same_time(stand: Stand) -> None:
    session = Session()
    both = threading.Barrier(2, timeout=5)
    for number in (1, 2):
        stand.put(glance_image(number))
        stand.meanwhile[f"GET /v2/images/{image_id(number)}"] = both.wait
    asking = [
        threading.Thread(target=GlanceClient(session, stand.url, token=str(number)).image, args=[image_id(number)])
        for number in (1, 2)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert not both.broken
    assert sorted((each.what[-1], each.token) for each in stand.requests) == [("1", "1"), ("2", "2")]


# --- which cloud ---


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> pytest.MonkeyPatch:
    """Have a cloud in the environment that asks for no credentials, and no other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OS_AUTH_TYPE", "none")
    return monkeypatch


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
def test_the_url_of_a_glance_is_without_a_version(
    environ: pytest.MonkeyPatch, url: str, base: str, variable: str
) -> None:
    environ.setenv(variable, url)
    assert connect(load_cloud_config()).url == base


def test_a_cloud_without_an_image_service_cannot_be_used(environ: pytest.MonkeyPatch) -> None:
    with pytest.raises(CloudConfigError, match=r"^The cloud cannot be used: its catalog has no image service$"):
        connect(load_cloud_config())


def test_a_cloud_that_is_not_named_cannot_be_used(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("OS_CLOUD", "none")
    with pytest.raises(CloudConfigError, match=r"^The cloud cannot be used: Cloud none was not found"):
        load_cloud_config()


@pytest.mark.parametrize("override", [True, False])
def test_a_password_that_is_missing_is_missed_at_once(environ: pytest.MonkeyPatch, override: bool) -> None:
    environ.setenv("OS_AUTH_TYPE", "password")
    environ.setenv("OS_AUTH_URL", "http://127.0.0.1:1/v3")
    environ.setenv("OS_USERNAME", "u")
    if override:
        environ.setenv("OS_IMAGE_ENDPOINT_OVERRIDE", "http://127.0.0.1:1")
    with pytest.raises(CloudConfigError, match=r"^The cloud cannot be used: .*password"):
        connect(load_cloud_config())


@pytest.mark.parametrize("override", [True, False])
def test_a_keystone_that_is_not_there_may_come(environ: pytest.MonkeyPatch, override: bool) -> None:
    credentials = {"USERNAME": "u", "PASSWORD": "p", "PROJECT_NAME": "p", "AUTH_TYPE": "password"}
    domains = {"USER_DOMAIN_ID": "default", "PROJECT_DOMAIN_ID": "default"}
    for name, value in {"AUTH_URL": "http://127.0.0.1:1/v3", **credentials, **domains}.items():
        environ.setenv(f"OS_{name}", value)
    if override:
        environ.setenv("OS_IMAGE_ENDPOINT_OVERRIDE", "http://127.0.0.1:1")
    with pytest.raises(UpstreamError, match=r"^A failure of the connection occurred$"):
        connect(load_cloud_config())


class Credentials(BaseIdentityPlugin):
    """Stands where a password is expected: Keystone gives a token for it, which has roles."""

    def __init__(self, *roles: str) -> None:
        super().__init__()
        named = {"roles": [{"id": role, "name": role} for role in roles]} if roles else {}
        self._token = {"expires_at": "2100-01-01T00:00:00.000000Z"} | named

    def get_auth_ref(self, _session: Session) -> AccessInfoV3:
        """Give the token."""
        return AccessInfoV3({"token": self._token}, CALLERS)

    def get_cache_id_elements(self) -> dict[str, str | None]:
        """Tell what the token depends on."""
        return {}


class Region:
    """Stands where a cloud is expected that asks for some credentials."""

    def __init__(self, credentials: BaseAuthPlugin) -> None:
        self._credentials = credentials

    def get_session(self) -> Session:
        """Give what asks with the credentials."""
        return Session(auth=self._credentials)

    def get_endpoint(self, _service: str) -> str:
        """Tell where the image service is."""
        return "http://glance.test"


@pytest.mark.parametrize(
    ("credentials", "is_admin"),
    [
        (Credentials("admin"), True),
        (Credentials("reader", "admin", "member"), True),
        (Credentials("reader", "member"), False),
        (Credentials("Administrator", "admins", "project_admin"), False),
        (Credentials(), False),
        (NoAuth(), False),
    ],
    ids=["admin", "among others", "others", "similar ones", "none", "no credentials"],
)
def test_the_roles_of_the_credentials_tell_whether_they_are_an_administrators(
    credentials: BaseAuthPlugin, is_admin: bool
) -> None:
    assert connect(Region(credentials)).is_admin is is_admin  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [*UNUSABLE, ValueError("odd")], ids=lambda error: type(error).__name__)
def test_whatever_else_is_wrong_with_credentials_is_said_of_the_cloud(error: Exception) -> None:
    with pytest.raises(CloudConfigError) as failed:
        connect(Region(Refused(error)))  # type: ignore[arg-type]
    assert str(failed.value) == f"The cloud cannot be used: {error}"


def test_members_are_waited_for_no_longer_than_ten_seconds(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    session = Session(auth=NoAuth())
    request = session.request

    def watch(*args: Any, timeout: float, **options: Any) -> Response:
        asked.append(timeout)
        return request(*args, timeout=timeout, **options)

    monkeypatch.setattr(session, "request", watch)
    for answer_in in (25, 5):
        GlanceClient(session, stand.url, answer_in=answer_in).members(image_id(1))
        GlanceClient(session, stand.url, answer_in=answer_in).image(image_id(1))
    assert asked == [10, 25, 5, 5]
