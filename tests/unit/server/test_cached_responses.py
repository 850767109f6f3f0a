"""Requests to which the server responds from the response cache, without running the application."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.catalog.engine import Engine
from app.catalog.sqlite.engine import SQLiteEngine
from app.factory import create_app
from app.middleware.response_cache import CACHE_EXTENSION
from app.overrides import Overrides
from app.server.cached_responses import CachedResponses, PendingResponse, RawResponse
from app.server.proxy_headers import ProxyHeadersMiddleware
from app.settings import Settings
from tests.support.engines import BlockingEngine
from tests.support.images import catalog_of, image
from tests.support.projects import LIST_URL

Respond = Callable[..., RawResponse | None]

HOST = (b"host", b"testserver")
DATE = (b"date", b"Thu, 26 Nov 2026 00:00:00 GMT")


@contextmanager
def responding(engine: Engine, **settings: Any) -> Iterator[Respond]:
    """Start an application, and request one page, so that its response is stored."""
    app = create_app(Settings(**settings), overrides=Overrides(engine=engine))
    with TestClient(app) as client:
        client.get(LIST_URL, headers={"Accept-Encoding": "identity"})
        proxies = ProxyHeadersMiddleware(app, "127.0.0.1")
        responses = CachedResponses(app.app.extensions[CACHE_EXTENSION], proxies.apply)

        async def build(scope: Any) -> RawResponse | None:
            response = responses.build(scope, [DATE])
            if isinstance(response, PendingResponse):
                await asyncio.wait([response.version])
                return responses.complete(response, scope, [DATE])
            return response

        def respond(method: str = "GET", query: bytes = b"", *headers: tuple[bytes, bytes]) -> RawResponse | None:
            assert client.portal is not None
            scope: Any = {"method": method, "raw_path": LIST_URL.encode(), "query_string": query, "scheme": "http"}
            scope |= {"client": ("127.0.0.1", 1234), "server": ("127.0.0.1", 8774), "state": {}}
            response: RawResponse | None = client.portal.call(build, scope | {"headers": [HOST, *headers]})
            return response

        yield respond


@pytest.fixture(params=[SQLiteEngine, BlockingEngine])
def engine_class(request: pytest.FixtureRequest) -> Callable[[Path], Engine]:
    engine_class: Callable[[Path], Engine] = request.param
    return engine_class


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return catalog_of(tmp_path, image(1), image(2))


@pytest.fixture
def respond(catalog: Path, engine_class: Callable[[Path], Engine]) -> Iterator[Respond]:
    with responding(engine_class(catalog)) as respond:
        yield respond


def test_head_begins_with_the_headers_of_the_server(respond: Respond) -> None:
    response = respond()

    assert response is not None
    assert response.head.startswith(b"HTTP/1.1 200 OK\r\ndate: Thu, 26 Nov 2026 00:00:00 GMT\r\netag: ")
    assert response.head.endswith(b"\r\n\r\n")
    assert response.body.startswith(b'{"images":[')


def test_response_to_head_has_no_body(respond: Respond) -> None:
    response = respond("HEAD")

    assert response is not None
    assert response.body == b""


@pytest.mark.parametrize("name", [b"user-agent", b"accept", b"connection", b"x-auth-token", b"x-forwarded-for"])
def test_header_that_nothing_reads_does_not_matter(respond: Respond, name: bytes) -> None:
    assert respond("GET", b"", (name, b"any")) is not None


@pytest.mark.parametrize(
    ("method", "query", "headers"),
    [
        ("POST", b"", []),
        ("GET", b"limit=1", []),  # not stored
        *(("GET", b"", [(name, b"0")]) for name in (b"content-length", b"transfer-encoding", b"expect", b"upgrade")),
        *(("GET", b"", [(name, b"1")]) for name in (b"origin", b"x-unknown")),
        ("GET", b"", [(b"accept-encoding", b"gzip")]),  # stored for clients without gzip only
        ("GET", b"", [(b"x-forwarded-proto", b"https")]),  # stored for http only
    ],
)
def test_application_responds_to_other_requests(
    respond: Respond, method: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    assert respond(method, query, *headers) is None


def test_application_responds_if_responses_are_not_stored(
    catalog: Path, engine_class: Callable[[Path], Engine]
) -> None:
    with responding(engine_class(catalog), response_cache_mb=0) as respond:
        assert respond() is None


def test_application_responds_if_the_token_is_not_validated(
    catalog: Path, engine_class: Callable[[Path], Engine]
) -> None:
    with responding(engine_class(catalog), auth="token") as respond:
        assert respond("GET", b"", (b"x-auth-token", b"unknown")) is None


def test_application_reports_that_the_catalog_is_gone(catalog: Path, engine_class: Callable[[Path], Engine]) -> None:
    with responding(engine_class(catalog)) as respond:
        catalog.unlink()

        assert respond() is None
