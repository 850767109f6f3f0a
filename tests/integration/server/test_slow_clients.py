"""Thousands who take their time, and one who does not: that one is answered, and the others are seen off."""

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
from tests.integration.server.service import impatient, serving
from tests.integration.server.wire import ask, request

IDLE, DRIBBLING, OTHERS = 2000, 200, 20
FILES = 4096  # more than all of these take

HEAD_IN, BODY_IN, ANSWER_OUT = 5, 2, 4  # seconds
SLACK = 30  # seconds: how fast all this is, is not what is tested
TURN = 0.25  # seconds

HEAD = request(LIST)[:-2]
BODY = request(f"{LIST[:-7]}/x/metadata", "Content-Length: 1000", method="PUT")
PAGE = request("/ui/swagger-ui-bundle.js")
PAGES = 20  # more than fits into what lies between

_log = logging.getLogger(__name__)


class Slow:
    """A client that sends something at once and then the same byte again and again, and reads little at a time."""

    def __init__(self, port: int, begin: bytes = b"", byte: bytes = b"") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(begin)
        self._socket.setblocking(False)
        self._byte = byte
        self.began, self.ended = time.monotonic(), 0.0

    def go_on(self) -> None:
        """Read a little, and send a byte; notice when the connection is over."""
        try:
            with suppress(BlockingIOError):
                if not self._socket.recv(1024):
                    self._end()
                    return
            self._socket.send(self._byte)
        except ConnectionError:
            self._end()

    def drain(self) -> int:
        """Read what is still there, and tell how much it was."""
        came = 0
        self._socket.settimeout(SLACK)
        with suppress(ConnectionError):
            while some := self._socket.recv(65_536):
                came += len(some)
        self._end()
        return came

    def _end(self) -> None:
        self.ended = time.monotonic()
        self._socket.close()


class Crowd(threading.Thread):
    """Slow clients, who go on until some of them are all over."""

    def __init__(self, clients: Sequence[Slow], *, until: Sequence[Slow]) -> None:
        super().__init__()
        self._clients = clients
        self._until = until

    def run(self) -> None:
        """Have each go on, in turns."""
        end = time.monotonic() + SLACK
        while not all(each.ended for each in self._until) and time.monotonic() < end:
            for each in self._clients:
                if not each.ended:
                    each.go_on()
            time.sleep(TURN)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have as many connections as these tests take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"a process may have {hard} files here, and this takes {FILES}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_client_is_answered_while_thousands_are_held_and_then_seen_off(tmp_path: Path, many_files: None) -> None:
    patience = impatient(head_in=HEAD_IN, body_in=BODY_IN, answer_out=ANSWER_OUT)
    command = ("sh", "-c", 'ulimit -S -n 256 && exec "$@"', "sh", *patience)  # fewer than connections
    with serving(tmp_path, command=command, workers=2) as service:
        idle = [Slow(service.port) for _ in range(IDLE)]
        heads = [Slow(service.port, HEAD, b"a") for _ in range(DRIBBLING)]
        bodies = [Slow(service.port, BODY, b" ") for _ in range(OTHERS)]
        readers = [Slow(service.port, PAGE * PAGES) for _ in range(OTHERS)]
        crowd = Crowd([*idle, *heads, *bodies, *readers], until=[*idle, *heads, *bodies])
        crowd.start()
        seconds: list[float] = []
        while crowd.is_alive():
            seconds.append(answered_after(service.port, len(seconds) % 7 + 1))
        came = [each.drain() for each in readers]
        whole = PAGES * len(ask(service.port, PAGE).body)
    _log.info("%d answers, half of them within %.1f ms", len(seconds), statistics.median(seconds) * 1000)
    assert len(seconds) > 100
    held = [*idle, *heads, *bodies]
    assert all(each.ended for each in held), "Some are still held."
    assert max(each.began for each in held) < min(each.ended for each in held), "They were not held at once."
    assert [each for each in came if each >= whole] == []


def answered_after(port: int, limit: int) -> float:
    """Ask for some images, and tell how many seconds it took until they were there."""
    begin = time.perf_counter()
    assert len(ask(port, request(f"{LIST}?limit={limit}")).images) == limit
    return time.perf_counter() - begin
