"""Thousands of slow clients do not block a normal one, and are disconnected in the end."""

import logging
import resource
import socket
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import serving, with_timeouts
from tests.integration.server.wire import JSON, fetch, request

IDLE, DRIBBLING, OTHERS = 2000, 200, 20
FILES = 4096  # more than all of these need

HEAD_TIMEOUT, BODY_TIMEOUT, WRITE_TIMEOUT = 5, 2, 4  # seconds
TOTAL_TIMEOUT = 30  # seconds: generous, because this is not a test of speed
INTERVAL = 0.25  # seconds

HEAD = request(LIST)[:-2]
BODY = request(f"{LIST[:-7]}/x/metadata", JSON, "Content-Length: 1000", method="PUT")
PAGE = request("/ui/swagger-ui-bundle.js")
PAGES = 20  # more than the buffers of both sides can hold

_log = logging.getLogger(__name__)


class Slow:
    """A client that sends something at once, then one byte at a time, and reads little at a time."""

    def __init__(self, port: int, begin: bytes = b"", byte: bytes = b"") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(begin)
        self._socket.setblocking(False)
        self._byte = byte
        self.began, self.ended = time.monotonic(), 0.0

    def step(self) -> None:
        """Read a little and send a byte. Record when the connection is closed."""
        try:
            with suppress(BlockingIOError):
                if not self._socket.recv(1024):
                    self._end()
                    return
            self._socket.send(self._byte)
        except ConnectionError:
            self._end()

    def drain(self) -> int:
        """Read everything and return the number of bytes."""
        received = 0
        self._socket.settimeout(TOTAL_TIMEOUT)
        with suppress(ConnectionError):
            while data := self._socket.recv(65_536):
                received += len(data)
        self._end()
        return received

    def _end(self) -> None:
        self.ended = time.monotonic()
        self._socket.close()


class Crowd(threading.Thread):
    """Drives slow clients until some of them are all disconnected."""

    def __init__(self, clients: Sequence[Slow], *, until: Sequence[Slow]) -> None:
        super().__init__()
        self._clients = clients
        self._until = until

    def run(self) -> None:
        """Let each client take a step, at intervals."""
        end = time.monotonic() + TOTAL_TIMEOUT
        while not all(each.ended for each in self._until) and time.monotonic() < end:
            for each in self._clients:
                if not each.ended:
                    each.step()
            time.sleep(INTERVAL)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Raise the limit of open files of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"needs {FILES} open files; the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_clients_do_not_block_others_and_are_disconnected(tmp_path: Path, many_files: None) -> None:
    serve = with_timeouts(head=HEAD_TIMEOUT, body=BODY_TIMEOUT, write=WRITE_TIMEOUT)
    command = ("sh", "-c", 'ulimit -S -n 256 && exec "$@"', "sh", *serve)  # fewer files than connections
    with serving(tmp_path, command=command, workers=2) as service:
        idle = [Slow(service.port) for _ in range(IDLE)]
        heads = [Slow(service.port, HEAD, b"a") for _ in range(DRIBBLING)]
        bodies = [Slow(service.port, BODY, b" ") for _ in range(OTHERS)]
        readers = [Slow(service.port, PAGE * PAGES) for _ in range(OTHERS)]
        crowd = Crowd([*idle, *heads, *bodies, *readers], until=[*idle, *heads, *bodies])
        crowd.start()
        seconds: list[float] = []
        while crowd.is_alive():
            seconds.append(response_time(service.port, len(seconds) % 7 + 1))
        received = [each.drain() for each in readers]
        complete = PAGES * len(fetch(service.port, PAGE).body)
    _log.info("%d responses, median %.1f ms", len(seconds), statistics.median(seconds) * 1000)
    assert len(seconds) > 100
    slow = [*idle, *heads, *bodies]
    assert all(each.ended for each in slow), "Some are still connected."
    assert max(each.began for each in slow) < min(each.ended for each in slow), (
        "They were not connected at the same time."
    )
    assert [each for each in received if each >= complete] == []


def response_time(port: int, limit: int) -> float:
    begin = time.perf_counter()
    assert len(fetch(port, request(f"{LIST}?limit={limit}")).images) == limit
    return time.perf_counter() - begin
