"""Requests that wait in the server for the version of the catalog, without running the application."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import pytest
from starlette.testclient import TestClient
from uvicorn import Config

from app.catalog.engines import open_catalog
from app.factory import create_app
from app.middleware.response_cache import CACHE_EXTENSION
from app.overrides import Overrides
from app.server.backpressure import Buffers, WorkerState
from app.server.cached_responses import CachedResponses
from app.server.http_protocol import HttpProtocol
from app.server.rejections import Rejections
from app.server.uvicorn import OPTIONS
from app.settings import Settings
from tests.conftest import loaded
from tests.integration.server.service import until
from tests.integration.server.wire import Connection, request
from tests.support.catalogs import add_images
from tests.support.engines import HeldEngine
from tests.support.images import catalog_of, image, image_id
from tests.support.projects import LIST_URL

T = TypeVar("T")

ALL, FIRST = request(LIST_URL), request(f"{LIST_URL}?limit=1")


class Server:
    """The server, in this process. It has stored responses to ALL and FIRST."""

    def __init__(self, path: Path, stack: ExitStack, **settings: Any) -> None:
        self.path = path
        self.engine = HeldEngine(path)
        self.recorded: list[tuple[str, int]] = []  # by the server itself, without the application
        self._app = create_app(Settings(str(path), **settings), loaded(), overrides=Overrides(engine=self.engine))
        self._state = WorkerState(Buffers())
        self._stack = stack
        self._client = stack.enter_context(TestClient(self._app))
        self._port = self._in_loop(self._listen)
        with self.connect() as connection:
            self.etag = connection.fetch(ALL).headers["etag"]
            connection.fetch(FIRST)
        self.engine.holds = True
        self._versions = self.engine.versions

    def connect(self) -> Connection:
        """Open a connection, until the end of the test."""
        return self._stack.enter_context(Connection(self._port))

    def await_requests(self, count: int) -> None:
        """Wait until so many requests wait for a version."""
        until(lambda: self.engine.versions == self._versions + count)

    def await_connections(self, count: int) -> None:
        """Wait until so many connections are open."""
        until(lambda: len(self._state.connections) == count)

    def begin_stop(self) -> None:
        """Stop as uvicorn's server does: connections end with their last response."""
        self._in_loop(self._stop)

    async def _listen(self) -> int:
        cache, record = self._app.app.extensions[CACHE_EXTENSION], self.recorded

        class Protocol(HttpProtocol):
            cached_responses = CachedResponses(cache, lambda _: None, lambda *each: record.append(each[:2]))
            rejections = Rejections(loaded())

        config = Config(self._app.middleware, **OPTIONS, http=Protocol)
        config.load()
        server = await asyncio.get_running_loop().create_server(
            lambda: Protocol(config=config, server_state=self._state, app_state=self._client.app_state), "127.0.0.1", 0
        )
        self._stack.callback(self._in_loop, self._close, server)
        return int(server.sockets[0].getsockname()[1])

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        while self._state.connections:
            await asyncio.sleep(0)

    async def _stop(self) -> None:
        self._state.is_stopping = True
        for connection in list(self._state.connections):
            connection.shutdown()

    def _in_loop(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        assert self._client.portal is not None
        return self._client.portal.call(function, *arguments)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(catalog_of(tmp_path, image(1), image(2)), stack)


def test_pipelined_requests_wait_one_after_the_other(server: Server) -> None:
    connection = server.connect()
    connection.send(ALL, FIRST, request(LIST_URL, method="HEAD"))
    sizes: list[tuple[int, object]] = []
    for head in (False, False, True):
        assert len(server.recorded) == len(sizes)
        server.engine.release()
        response = connection.receive(head=head)
        sizes.append((response.status, head or len(response.images)))
    assert sizes == [(200, 2), (200, 1), (200, True)]
    assert server.recorded == [("listImagesDetails", 200)] * 3


def test_connections_share_a_version(server: Server) -> None:
    connections = [server.connect() for _ in range(5)]
    for connection in connections:
        connection.send(request(LIST_URL, f"If-None-Match: {server.etag}"))
    server.await_requests(5)
    server.engine.release()
    assert [connection.receive().status for connection in connections] == [304] * 5


def test_client_that_disconnects_does_not_end_the_wait_of_others(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    gone, other = server.connect(), server.connect()
    gone.send(ALL)
    other.send(ALL)
    server.await_requests(2)
    gone.abort()
    server.await_connections(1)
    server.engine.release()
    assert other.receive().status == 200
    assert (len(server.recorded), caplog.text) == (1, "")


def test_change_before_the_version_is_in_the_response(server: Server) -> None:
    connection = server.connect()
    connection.send(ALL)
    add_images(open_catalog(server.path), image(3))
    server.engine.release()
    assert image_id(3) in connection.receive().images  # the application has not waited for the version again


def test_outage_is_not_answered_from_the_cache(server: Server) -> None:
    connection = server.connect()
    server.path.rename(server.path.with_name("away"))
    server.engine.holds = False
    for headers in ((), (f"If-None-Match: {server.etag}",), ("If-None-Match: *",)):
        response = connection.fetch(request(LIST_URL, *headers))
        assert (response.status, "retry-after" in response.headers) == (503, True)
    server.path.with_name("away").rename(server.path)
    assert connection.fetch(ALL).status == 200


def test_request_that_waits_when_the_server_stops_has_its_response(server: Server) -> None:
    connection = server.connect()
    connection.send(ALL)
    server.await_requests(1)
    server.begin_stop()
    server.engine.holds = False
    server.engine.release()
    (response,) = connection.receive_all()
    assert (response.status, response.headers["connection"]) == (200, "close")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def logging_server(tmp_path: Path, log: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        yield Server(catalog_of(tmp_path, image(1), image(2)), stack, access_log_file=str(log))


def logged(log: Path, count: int) -> list[list[str]]:
    """Wait for the last `count` lines of the access log. Return the status, size and milliseconds of each."""
    until(lambda: log.read_text().count("\n") == 2 + count)  # the first two are those of the responses in the cache
    return [line.split()[6:9] for line in log.read_text().splitlines()[2:]]


def test_pipelined_requests_and_those_of_gone_clients_are_logged(logging_server: Server, log: Path) -> None:
    connection, gone = logging_server.connect(), logging_server.connect()
    connection.send(ALL, request(LIST_URL, method="HEAD"), FIRST)
    gone.send(ALL)
    logging_server.await_requests(2)
    gone.abort()
    logging_server.await_connections(1)
    logging_server.engine.holds = False
    logging_server.engine.release()
    sizes = [len(connection.receive(head=head).body) for head in (False, True, False)]
    lines = sorted(line[:2] for line in logged(log, 4))
    assert lines == sorted([["200", str(size)] for size in (*sizes, sizes[0])])


def test_logged_duration_includes_the_wait_if_the_response_is_not_stored(logging_server: Server, log: Path) -> None:
    connection, other = logging_server.connect(), logging_server.connect()
    connection.send(request(f"{LIST_URL}?limit=2"))
    logging_server.await_requests(1)
    begin = perf_counter()
    for _ in range(20):
        other.fetch(request("/v2"))  # does not wait for a version
    waited = perf_counter() - begin
    logging_server.engine.release()
    assert connection.receive().status == 200
    assert float(logged(log, 21)[-1][2]) >= waited * 1000
