"""The server logs the cached responses that it sends itself exactly as the application would."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.testclient import TestClient

from app.factory import create_app
from app.middleware.response_cache import CACHE_EXTENSION
from app.server.cached_responses import CachedResponses, RawResponse
from app.server.proxy_headers import ProxyHeadersMiddleware
from app.settings import Settings
from tests.conftest import loaded
from tests.support.images import catalog_of, image
from tests.support.projects import LIST_URL

TRUSTED: Any = {"client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8774)}
OTHER: Any = {"client": ("192.0.2.1", 5000), "server": ("127.0.0.1", 8774)}
UNIX: Any = {"client": None, "server": ("/run/socket", None)}
FORWARDED = (b"x-forwarded-for", b"203.0.113.7, 127.0.0.1")
GLOBAL_ID = (b"x-openstack-request-id", b"req-0123abcd-0123-abcd-ef01-0123456789ab")

REQUESTS = [
    ("GET", LIST_URL, TRUSTED, []),
    ("HEAD", LIST_URL, TRUSTED, []),
    ("GET", LIST_URL, TRUSTED, [(b"if-none-match", b"*")]),
    ("GET", f"{LIST_URL}?limit=1&name=a%20b", OTHER, [(b"accept-encoding", b"gzip")]),
    ("GET", f"{LIST_URL}?other=\x7f", TRUSTED, []),  # a control character
    ("GET", f"{LIST_URL}?name={'x' * 300}", TRUSTED, []),
    ("GET", "/v2/my%20project/images", TRUSTED, [(b"user-agent", b"a")]),
    ("GET", "/v2", TRUSTED, []),
    *(("GET", LIST_URL, TRUSTED, ids) for ids in ([GLOBAL_ID], [GLOBAL_ID] * 2, [(GLOBAL_ID[0], b"req-1")])),
    *(("GET", LIST_URL, peer, [FORWARDED]) for peer in (TRUSTED, OTHER, UNIX)),
    ("GET", LIST_URL, TRUSTED, [(b"x-forwarded-for", b"fe80::1%\x9b"), (b"x-forwarded-proto", b"https")]),
    ("GET", LIST_URL, UNIX, []),
]
VARYING = re.compile(r"(?<=[ :])\d+\.\d+(?=[ ,])|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # duration and time
ID = re.compile(rb"x-compute-request-id: (\S+)")


class Service:
    """An application, and the part of the server that sends responses from the application's cache."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings, loaded())
        self._proxies = ProxyHeadersMiddleware(self.app, "127.0.0.1")
        self._responses = CachedResponses(self.app.app.extensions[CACHE_EXTENSION], self._proxies.apply)

    async def respond(self, scope: Any) -> bytes:
        """Let the application respond. Return the request id."""
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._proxies(scope, receive, send)
        return bytes(dict(sent[0]["headers"])[b"x-compute-request-id"])

    async def respond_from_cache(self, scope: Any) -> bytes:
        """Respond without the application. Return the request id."""
        response = self._responses.build(scope, [])
        assert isinstance(response, RawResponse)
        (request_id,) = ID.findall(response.head)
        return bytes(request_id)


def scope_of(method: str, target: str, peer: Any, headers: list[tuple[bytes, bytes]]) -> Any:
    raw_path, _, query = target.partition("?")
    scope: Any = {"type": "http", "http_version": "1.1", "scheme": "http", "root_path": "", "method": method, **peer}
    scope |= {"raw_path": raw_path.encode(), "path": unquote(raw_path), "query_string": query.encode()}
    return scope | {"headers": [(b"host", b"testserver"), *headers]}


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_lines_of_the_server_are_those_of_the_application(tmp_path: Path, log_format: str) -> None:
    catalog, log = str(catalog_of(tmp_path, image(1), image(2))), tmp_path / "access.log"
    settings = Settings(catalog, log_format=log_format, access_log_file=str(log), unknown_parameters="ignore")
    service = Service(settings)
    with TestClient(service.app) as client:
        assert client.portal is not None
        ids = [
            client.portal.call(respond, scope_of(*each) | {"state": client.app_state.copy()}).decode()
            for each in REQUESTS
            for respond in (service.respond, service.respond, service.respond_from_cache)
        ]
    lines = log.read_text().splitlines()
    assert len(lines) == 3 * len(REQUESTS)
    assert all(line.count(each) == 1 for line, each in zip(lines, ids, strict=True))
    masked = [VARYING.sub("", line.replace(each, "")) for line, each in zip(lines, ids, strict=True)]
    assert masked[0::3] == masked[1::3] == masked[2::3]
