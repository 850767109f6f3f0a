"""Authentication by Keystone, against a fake Keystone that also responds as proxies and broken servers do."""

import asyncio
import json
import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from app.auth.base import TokenInfo
from app.auth.keystone import KeystoneAuthenticator, KeystoneClient, KeystoneConfigError, KeystoneUnavailable
from app.context import Caller, RequestContext, current_request
from app.errors import IdentityUnavailable, Unauthorized
from app.logs import LogFormatter
from app.overrides import Overrides
from app.settings import Settings
from tests.conftest import Serve
from tests.support.clock import FakeClock
from tests.support.projects import PROJECT

TOKEN = {
    "expires_at": "2099-01-01T00:00:00.000000Z",
    "issued_at": "2020-01-01T00:00:00.000000Z",
    "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
    "project": {"id": PROJECT, "name": "p", "domain": {"id": "default", "name": "Default"}},
    "roles": [{"id": "r", "name": "admin"}],
}
VALID = {"token": TOKEN}
MISSING = {"error": {"code": 404, "message": "Could not find token.", "title": "Not Found"}}
VERSION_2 = {"access": {"token": {"id": "x", "expires": "2099-01-01T00:00:00Z", "tenant": {"id": PROJECT}}}}

StatusAndBody = tuple[int, Any]


class FakeKeystone(ThreadingHTTPServer):
    """A Keystone that issues tokens, and validates tokens with a response that the test sets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.issue_response: StatusAndBody = (201, VALID)
        self.validate_response: StatusAndBody = (200, VALID)
        self.location = ""
        self.validations = 0


class Handler(BaseHTTPRequestHandler):
    """Handles one request to the fake Keystone."""

    server: FakeKeystone

    def do_POST(self) -> None:
        """Issue a token."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._respond(*self.server.issue_response)

    def do_GET(self) -> None:
        """Validate a token."""
        self.server.validations += 1
        self._respond(*self.server.validate_response)

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _respond(self, status: int, document: Any) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("X-Subject-Token", "own")
        self.send_header("Content-Length", str(len(body)))
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running() -> Iterator[FakeKeystone]:
    with FakeKeystone() as keystone:
        thread = Thread(target=keystone.serve_forever, args=[0.01])
        thread.start()
        try:
            yield keystone
        finally:
            keystone.shutdown()
            thread.join()


@pytest.fixture
def keystone(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKeystone]:
    """Run a fake Keystone, with the credentials for it in the environment."""
    with running() as keystone:
        credentials = {"USERNAME": "u", "PASSWORD": "p", "PROJECT_NAME": "p"}
        domains = {"USER_DOMAIN_ID": "default", "PROJECT_DOMAIN_ID": "default"}
        for name, value in {"AUTH_URL": f"{keystone.url}/v3", **credentials, **domains}.items():
            monkeypatch.setenv(f"OS_{name}", value)
        yield keystone


# --- the client ---


@pytest.mark.parametrize("role", ["admin", "Admin"])
def test_valid_token_has_a_caller_and_an_expiry(keystone: FakeKeystone, role: str) -> None:
    keystone.validate_response = (200, {"token": TOKEN | {"roles": [{"id": "r", "name": role}]}})
    assert KeystoneClient().validate("x") == TokenInfo(Caller(PROJECT, is_admin=True), 4070908800.0)


def test_token_that_keystone_does_not_find_is_invalid(keystone: FakeKeystone) -> None:
    keystone.validate_response = (404, MISSING)
    assert KeystoneClient().validate("x") is None


@pytest.mark.parametrize(
    "response",
    [
        (201, VALID),
        (300, VALID),
        (302, VALID),
        (200, VERSION_2),
        (200, {}),
        (200, []),
        (200, b"<html>"),
        (200, {"token": TOKEN | {"expires_at": None}}),
        (404, b"default backend - 404"),
        (404, {}),
        (404, {"error": "x"}),
        (410, MISSING),
        (429, b""),
        (500, b""),
    ],
    ids=str,
)
def test_unexpected_response_is_no_validation(keystone: FakeKeystone, response: StatusAndBody) -> None:
    keystone.validate_response = response
    with pytest.raises(KeystoneUnavailable):
        KeystoneClient().validate("x")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(keystone: FakeKeystone, status: int) -> None:
    with running() as other:
        keystone.validate_response, keystone.location = (status, b""), f"{other.url}/v3/auth/tokens"
        with pytest.raises(KeystoneUnavailable):
            KeystoneClient().validate("x")
        assert other.validations == 0


@pytest.mark.parametrize("response", [(404, b"<html>"), (429, b""), (500, b""), (502, b""), (201, b"<html>")], ids=str)
@pytest.mark.parametrize("path", ["", "/v3"])
def test_unexpected_response_does_not_mean_wrong_credentials(
    keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch, response: StatusAndBody, path: str
) -> None:
    monkeypatch.setenv("OS_AUTH_URL", f"{keystone.url}{path}")
    keystone.issue_response = keystone.validate_response = response
    with pytest.raises(KeystoneUnavailable):
        KeystoneClient().authenticate()


@pytest.mark.parametrize("path", ["", "/", "/v3", "/identity"])
def test_unreachable_keystone_is_unavailable(
    keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("OS_AUTH_URL", f"http://127.0.0.1:1{path}")
    with pytest.raises(KeystoneUnavailable):
        KeystoneClient().authenticate()


@pytest.mark.parametrize("status", [400, 401, 403])
def test_rejected_credentials_are_a_configuration_error(keystone: FakeKeystone, status: int) -> None:
    keystone.issue_response = (status, {"error": {"code": status, "message": "no", "title": "no"}})
    with pytest.raises(KeystoneConfigError):
        KeystoneClient().authenticate()


def test_missing_password_is_a_configuration_error(keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OS_PASSWORD")
    with pytest.raises(KeystoneConfigError, match="password is a required attribute"):
        KeystoneClient().authenticate()


@pytest.mark.parametrize("url", ["http://user:secret@keystone.test/v3", 'http://keystone.test/"', "keystone.test"])
def test_auth_url_that_callers_must_not_see_is_a_configuration_error(
    keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("OS_AUTH_URL", url)
    with pytest.raises(KeystoneConfigError):
        KeystoneClient()


def test_silent_keystone_is_unavailable_after_the_timeout(
    keystone: FakeKeystone, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OS_AUTH_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/v3")
        with pytest.raises(KeystoneUnavailable):
            KeystoneClient(timeout=0.2).authenticate()


# --- the authenticator ---


class FakeClient:
    """A client whose validations have a result that the test sets. It logs in the thread that it is called in."""

    url = "http://keystone.test/v3"

    def __init__(self, result: TokenInfo | Exception | None = None) -> None:
        self.result = result
        self.proceed = Event()
        self.proceed.set()
        self.tokens: list[str] = []

    def check(self) -> None:
        """Do what a validation of the service's own token does."""
        self.validate("own")

    def validate(self, token: str) -> TokenInfo | None:
        """Return or raise the result, once the test lets it proceed."""
        logging.getLogger("app.test").warning("validating")
        self.tokens.append(token)
        assert self.proceed.wait(10)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def authenticator(client: FakeClient, **settings: Any) -> KeystoneAuthenticator:
    return KeystoneAuthenticator("X-Auth-Token", client, Settings(**settings), clock=FakeClock())


CALLER = Caller(PROJECT, is_admin=False)


@pytest.mark.parametrize("token", [b"x" * 4097, b"a b", b"\xff", b"a\tb"])
def test_malformed_token_is_rejected_without_keystone(token: bytes) -> None:
    client = FakeClient()
    with pytest.raises(Unauthorized):
        asyncio.run(authenticator(client).authenticate(token))
    assert client.tokens == []


@pytest.mark.parametrize("result", [None, TokenInfo(CALLER, FakeClock().time())], ids=["invalid", "expired"])
def test_invalid_or_expired_token_is_unauthorized(result: TokenInfo | None) -> None:
    with pytest.raises(Unauthorized):
        asyncio.run(authenticator(FakeClient(result)).authenticate(b"x"))


@pytest.mark.parametrize(
    ("result", "reported"),
    [
        (TokenInfo(CALLER, inf), ["valid", "cached"]),
        (None, ["invalid", "invalid"]),
        (KeystoneUnavailable("it is down"), ["error", "error"]),
    ],
)
def test_validations_are_reported_with_their_results(result: Any, reported: list[str]) -> None:
    observed = []
    tokens = authenticator(FakeClient(result))
    tokens.on_validation = lambda *validation: observed.append(validation)
    for _ in range(2):
        with suppress(Unauthorized, IdentityUnavailable):
            asyncio.run(tokens.authenticate(b"x"))
    assert observed == [(each, None if each == "cached" else 0) for each in reported]


@pytest.mark.parametrize(
    ("settings", "uri"),
    [({}, "http://keystone.test/v3"), ({"www_authenticate_uri": "https://public.test/v3"}, "https://public.test/v3")],
    ids=["own", "configured"],
)
def test_challenge_has_the_public_url_of_keystone(settings: dict[str, str], uri: str) -> None:
    error = authenticator(FakeClient(), **settings).unauthorized()
    assert error.headers == {"WWW-Authenticate": f'Keystone uri="{uri}"'}


def test_concurrent_requests_share_one_validation() -> None:
    client = FakeClient(TokenInfo(CALLER, float("inf")))
    client.proceed.clear()
    keystone = authenticator(client)

    async def authenticate() -> list[Caller]:
        requests = [asyncio.create_task(keystone.authenticate(b"x")) for _ in range(3)]
        await asyncio.sleep(0)
        requests[0].cancel()  # its client disconnects, which does not affect the others
        client.proceed.set()
        return await asyncio.gather(*requests[1:])

    assert asyncio.run(authenticate()) == [CALLER, CALLER]
    assert client.tokens == ["x"]


@pytest.mark.parametrize("result", [None, KeystoneUnavailable("down"), KeystoneConfigError("wrong")], ids=repr)
def test_check_is_shared_and_repeated_after_some_seconds(result: Exception | None) -> None:
    client, clock = FakeClient(result), FakeClock()
    keystone = KeystoneAuthenticator("X-Auth-Token", client, Settings(), clock=clock)

    async def check() -> None:
        for _ in range(3):
            outcomes = await asyncio.gather(*(keystone.check() for _ in range(3)), return_exceptions=True)
            expected = None if result is None else str(result)
            assert [each and str(each) for each in outcomes] == [expected] * 3
            clock.advance(2.5)

    asyncio.run(check())
    assert client.tokens == ["own", "own"]


def test_check_validates_the_services_own_token(keystone: FakeKeystone) -> None:
    client = KeystoneClient()
    client.check()
    keystone.validate_response = (503, b"")
    with pytest.raises(
        KeystoneUnavailable, match=r"^Keystone is unavailable: status 503 for the validation of a token$"
    ):
        client.check()


# --- the log ---


@pytest.fixture
def service_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Capture the service log with request ids."""
    formatter = caplog.handler.formatter
    caplog.handler.setFormatter(LogFormatter("json"))
    yield caplog
    caplog.handler.setFormatter(formatter)


def logged(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return the messages of the service log with their request ids."""
    lines = [json.loads(line) for line in log.text.splitlines()]
    return [
        (each["message"], each["request_id"])
        for each in lines
        if each["logger"].startswith("app.") and each["level"] in {"WARNING", "ERROR"}
    ]


def test_failed_validation_is_logged_with_the_request_id_of_the_response(
    serve: Serve, sample_catalog: Path, service_log: pytest.LogCaptureFixture
) -> None:
    client = FakeClient(KeystoneUnavailable("connection refused"))
    path = "/v2/openstack/images"
    responses = [
        serve(sample_catalog, auth="keystone", overrides=Overrides(authenticator=authenticator(client))).get(
            path, headers={"X-Auth-Token": "x"}
        )
        for _ in range(2)
    ]
    message = "The identity service is unavailable; try again later."
    assert [each.json() for each in responses] == [{"serviceUnavailable": {"code": 503, "message": message}}] * 2
    ids = [each.headers["x-compute-request-id"] for each in responses]
    assert logged(service_log) == [
        (message, request_id)
        for request_id in ids
        for message in ("validating", f"GET '{path}': Keystone is unavailable: connection refused")
    ]


def test_log_line_of_a_thread_has_the_request_id(service_log: pytest.LogCaptureFixture) -> None:
    keystone = authenticator(FakeClient(KeystoneUnavailable("down")))

    async def serve(request_id: str) -> None:
        current_request.set(RequestContext(request_id))
        with pytest.raises(IdentityUnavailable):
            await keystone.authenticate(request_id.encode())

    async def serve_both() -> None:
        await asyncio.gather(*(asyncio.create_task(serve(each)) for each in ("req-1", "req-2")))

    asyncio.run(serve_both())
    assert sorted(logged(service_log)) == [("validating", "req-1"), ("validating", "req-2")]
    with ThreadPoolExecutor() as threads:
        threads.submit(logging.getLogger("app.test").warning, "outside").result()
    assert logged(service_log)[-1] == ("outside", "-")
