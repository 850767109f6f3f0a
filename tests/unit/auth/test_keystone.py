"""What is believed of Keystone, where it or something in its place says what a real one does not."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from app.auth import keystone
from app.auth.base import Caller, TokenInfo
from app.auth.keystone import KeystoneAuthenticator, KeystoneClient, KeystoneConfigError, KeystoneUnavailable
from app.errors import Unauthorized
from app.settings import Settings

PROJECT = "1" * 32
TOKEN = {
    "expires_at": "2099-01-01T00:00:00.000000Z",
    "issued_at": "2020-01-01T00:00:00.000000Z",
    "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
    "project": {"id": PROJECT, "name": "p", "domain": {"id": "default", "name": "Default"}},
    "roles": [{"id": "r", "name": "admin"}],
}
GOOD = {"token": TOKEN}
MISSING = {"error": {"code": 404, "message": "Could not find token.", "title": "Not Found"}}
VERSION_2 = {"access": {"token": {"id": "x", "expires": "2099-01-01T00:00:00Z", "tenant": {"id": PROJECT}}}}

Answered = tuple[int, Any]


class Stand(ThreadingHTTPServer):
    """Stands where Keystone is expected: it gives tokens, and says of each token of others what it is told to say."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.gives: Answered = (201, GOOD)
        self.says: Answered = (200, GOOD)
        self.elsewhere = ""
        self.asked = 0


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Stand

    def do_POST(self) -> None:
        """Give a token."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(*self.server.gives)

    def do_GET(self) -> None:
        """Say what a token is."""
        self.server.asked += 1
        self._answer(*self.server.says)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, document: Any) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("X-Subject-Token", "own")
        self.send_header("Content-Length", str(len(body)))
        if self.server.elsewhere:
            self.send_header("Location", self.server.elsewhere)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def standing() -> Iterator[Stand]:
    with Stand() as stand:
        thread = Thread(target=stand.serve_forever, args=[0.01])
        thread.start()
        try:
            yield stand
        finally:
            stand.shutdown()
            thread.join()


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Stand there, with the credentials for it in the environment."""
    with standing() as stand:
        credentials = {"USERNAME": "u", "PASSWORD": "p", "PROJECT_NAME": "p"}
        domains = {"USER_DOMAIN_ID": "default", "PROJECT_DOMAIN_ID": "default"}
        for name, value in {"AUTH_URL": f"{stand.url}/v3", **credentials, **domains}.items():
            monkeypatch.setenv(f"OS_{name}", value)
        yield stand


def test_a_good_token_is_its_projects_until_it_ends(stand: Stand) -> None:
    assert KeystoneClient().validate("x") == TokenInfo(Caller(PROJECT, is_admin=True), 4070908800.0)


def test_a_token_that_keystone_does_not_find_is_no_good(stand: Stand) -> None:
    stand.says = (404, MISSING)
    assert KeystoneClient().validate("x") is None


@pytest.mark.parametrize(
    "answered",
    [
        (201, GOOD),
        (300, GOOD),
        (302, GOOD),
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
def test_what_is_no_verdict_is_none(stand: Stand, answered: Answered) -> None:
    stand.says = answered
    with pytest.raises(KeystoneUnavailable):
        KeystoneClient().validate("x")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_token_is_sent_elsewhere(stand: Stand, status: int) -> None:
    with standing() as other:
        stand.says, stand.elsewhere = (status, b""), f"{other.url}/v3/auth/tokens"
        with pytest.raises(KeystoneUnavailable):
            KeystoneClient().validate("x")
        assert other.asked == 0


@pytest.mark.parametrize("answered", [(404, b"<html>"), (429, b""), (500, b""), (502, b""), (201, b"<html>")], ids=str)
@pytest.mark.parametrize("path", ["", "/v3"])
def test_what_keystone_does_not_say_of_credentials_may_pass(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, answered: Answered, path: str
) -> None:
    monkeypatch.setenv("OS_AUTH_URL", f"{stand.url}{path}")
    stand.gives = stand.says = answered
    with pytest.raises(KeystoneUnavailable):
        KeystoneClient().authenticate()


@pytest.mark.parametrize("path", ["", "/", "/v3", "/identity"])
def test_a_keystone_that_is_not_there_may_come(stand: Stand, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("OS_AUTH_URL", f"http://127.0.0.1:1{path}")
    with pytest.raises(KeystoneUnavailable):
        KeystoneClient().authenticate()


@pytest.mark.parametrize("status", [400, 401, 403])
def test_what_keystone_says_of_credentials_stands(stand: Stand, status: int) -> None:
    stand.gives = (status, {"error": {"code": status, "message": "no", "title": "no"}})
    with pytest.raises(KeystoneConfigError):
        KeystoneClient().authenticate()


def test_a_password_that_is_missing_is_missed_at_the_start(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OS_PASSWORD")
    with pytest.raises(KeystoneConfigError, match="password is a required attribute"):
        KeystoneClient().authenticate()


@pytest.mark.parametrize("url", ["http://user:secret@keystone.test/v3", 'http://keystone.test/"', "keystone.test"])
def test_what_cannot_be_told_to_callers_is_no_url_of_keystone(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("OS_AUTH_URL", url)
    with pytest.raises(KeystoneConfigError):
        KeystoneClient()


@pytest.mark.parametrize("token", [b"x" * 4097, b"a b", b"\xff", b"a\tb"])
def test_what_can_be_no_token_is_not_asked_about(stand: Stand, token: bytes) -> None:
    tokens = KeystoneAuthenticator("X-Auth-Token", Settings())
    with pytest.raises(Unauthorized):
        asyncio.run(tokens.identify(token))
    assert stand.asked == 0


def test_a_token_that_ended_is_no_good_whatever_keystone_says(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.says = (200, {"token": TOKEN | {"expires_at": "2001-01-01T00:00:00.000000Z"}})
    with pytest.raises(Unauthorized):
        asyncio.run(KeystoneAuthenticator("X-Auth-Token", Settings()).identify(b"x"))


def test_who_does_not_answer_is_not_waited_for(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystone, "_REQUEST_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OS_AUTH_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/v3")
        with pytest.raises(KeystoneUnavailable):
            KeystoneClient().authenticate()
