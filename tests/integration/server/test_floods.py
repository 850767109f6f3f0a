"""Clients that send much, or do not read, exhaust neither the memory of a worker nor the time of other clients."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from app.server.backpressure import MIN_BUFFERED_BYTES
from tests.integration.server.conftest import LIST, MANY
from tests.integration.server.service import Service, serving, until
from tests.integration.server.wire import Connection, fetch, request

MAX_GROWTH = 2  # times the memory of an idle worker
FLOOD = 8_000_000  # bytes
RESPONSES = 500  # to read during a flood
MANY_REQUESTS = 500

ONE = request(f"{LIST}?limit=1")
UPGRADES = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"),
    "websocket": ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
}
FLOODS = {
    "without body": request("/v2"),
    "with body": request("/v2", "Content-Length: 50", method="POST") + b"x" * 50,
    "Upgrade": request("/v2", *UPGRADES["h2c"]),
}


@pytest.fixture
def flooded(large_catalog: Path, tmp_path: Path) -> Iterator[Service]:
    """Run a service, and require that the test has not doubled its memory, and has caused no errors."""
    with serving(tmp_path, IMAGES_CATALOG=str(large_catalog), IMAGES_RESPONSE_CACHE_MB="0") as service:
        fetch(service.port, ONE)
        idle = peak_memory(service)
        yield service
        assert len(fetch(service.port, ONE).images) == 1
        assert peak_memory(service) < MAX_GROWTH * idle
        assert service.errors == []


def peak_memory(service: Service) -> int:
    """Return the peak memory of the only worker, in KiB."""
    (line,) = (
        line
        for line in Path(f"/proc/{service.workers[0]}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1])


@pytest.mark.parametrize("raw", FLOODS.values(), ids=FLOODS)
def test_flood_of_pipelined_requests(flooded: Service, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", flooded.port)) as flood, Connection(flooded.port) as other:
        flood.setblocking(False)
        unsent = memoryview(raw * (FLOOD // len(raw)))
        received = 0
        while received < RESPONSES:
            with suppress(BlockingIOError):
                unsent = unsent[flood.send(unsent) :]
            assert other.fetch(ONE).status == 200
            with suppress(BlockingIOError):
                received += flood.recv(1_000_000).count(b"HTTP/1.1 ")


def test_slow_readers_beyond_the_bound_are_disconnected(flooded: Service) -> None:
    page = request(f"{LIST}?limit={MANY}")
    size = len(fetch(flooded.port, page).body)
    count = MIN_BUFFERED_BYTES // size + 10
    with ExitStack() as stack:
        for _ in range(count):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", flooded.port))
            reader.sendall(page * 10)
        with Connection(flooded.port) as other:
            until(lambda: other.fetch(ONE).status == 200 and "Connection closed: " in flooded.log)
            assert len(other.fetch(page).images) == MANY


@pytest.mark.parametrize("headers", UPGRADES.values(), ids=UPGRADES)
def test_many_upgrades_in_one_segment_are_ignored(service: Service, headers: tuple[str, ...]) -> None:
    body = request(f"{LIST}?limit=2", *headers, "Content-Length: 2") + b"{}"
    with Connection(service.port) as connection:
        connection.send(*[request(f"{LIST}?limit=1", *headers), body] * (MANY_REQUESTS // 2))
        counts = [len(connection.receive().images) for _ in range(MANY_REQUESTS)]
    assert counts == [1, 2] * (MANY_REQUESTS // 2)
    assert service.errors == []


def test_many_connects_in_one_segment_get_one_rejection(service: Service) -> None:
    with Connection(service.port) as connection:
        connection.send(request("compute.test:80", method="CONNECT") * 100)
        assert connection.receive().fault == (400, "badRequest")
        assert connection.receive_if_any() is None


@pytest.mark.parametrize("headers", [(), UPGRADES["h2c"]], ids=["plain", "Upgrade"])
@pytest.mark.parametrize("url", ["http://a:99999/", "http:///", "http://@/", "ftp://"])
def test_url_that_cannot_be_parsed_is_rejected(service: Service, url: str, headers: tuple[str, ...]) -> None:
    with Connection(service.port) as connection:
        connection.send(ONE, request(url, *headers))
        assert len(connection.receive().images) == 1
        assert connection.receive().fault == (400, "badRequest")
        assert connection.receive_if_any() is None
    assert service.errors == []


def test_long_headers_take_linear_time(tmp_path: Path) -> None:
    """A parser that takes quadratic time would need seconds for each request."""
    names = ("Accept", "Accept-Encoding", "If-None-Match", "Cookie", "Connection", "X-Forwarded-For", "Origin")
    with serving(tmp_path) as service:
        before = processor_time(service)
        for repeated in (",", '"', '"a",', "a;q=0.5,", "a=b;", " ", "W/"):
            value = (repeated * 60_000)[:60_000]
            for name in names:
                assert fetch(service.port, request(LIST, f"{name}: {value}x")).status == 200
        assert processor_time(service) - before < 3


def processor_time(service: Service) -> float:
    """Return the CPU time of the only worker, in seconds."""
    user, system = Path(f"/proc/{service.workers[0]}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
