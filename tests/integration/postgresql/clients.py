"""Clients of several machines, and a model of what their responses may show.

Each writer increases a number. A response must not show an older number than one that was acknowledged, or shown by
another response, before its request was sent: it would be stale. Nor may it show one that was not sent yet.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import NamedTuple

import orjson

from tests.integration.server.wire import JSON, Connection, Response, request

Numbers = Mapping[str, int]

_OK = frozenset({200})
_RETRY_INTERVAL = 0.005  # seconds between requests of a client while they fail


class Exchange(NamedTuple):
    """A request and its response. The times are those of the monotonic clock."""

    begin: float
    end: float
    port: int
    is_read: bool
    is_success: bool  # its status is one that the client expects

    @property
    def seconds(self) -> float:
        """The time from the request to the complete response."""
        return self.end - self.begin


class Target(NamedTuple):
    """A request, and how to read numbers from a response with one of the expected statuses."""

    path: str
    token: str
    numbers: Callable[[Response], Numbers]
    statuses: frozenset[int] = _OK


class Model:
    """What clients have sent and received. It is used by many threads."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.problems: list[str] = []
        self._lock = threading.Lock()
        self._sent = Counter[str]()
        self._known = Counter[str]()  # acknowledged, or shown by a response

    @property
    def known(self) -> Numbers:
        """The newest known numbers. A response to a later request must not show older ones."""
        with self._lock:
            return self._known.copy()

    def send(self, name: str) -> int:
        """Return the next number to write."""
        with self._lock:
            self._sent[name] += 1
            return self._sent[name]

    def see(self, numbers: Numbers, source: str, least: Numbers = {}) -> None:  # noqa: B006 it is not changed
        """Record numbers that were acknowledged, or that a response shows; report those older than the least."""
        with self._lock:
            for name, number in numbers.items():
                if number < least.get(name, 0):
                    self.problems.append(f"stale: {source} shows {name} {number} after {least[name]}")
                if number > self._sent[name]:
                    self.problems.append(f"impossible: {source} shows {name} {number} before it was sent")
                self._known[name] = max(self._known[name], number)

    def receive(self, connection: Connection, raw: bytes, statuses: frozenset[int] = _OK) -> tuple[Response, bool]:
        """Send a request. Return the response, and whether its status is one of those that the client expects.

        Otherwise, it has to be a 503 with Retry-After.
        """
        begin = time.monotonic()
        response = connection.fetch(raw)
        is_expected = response.status in statuses
        is_read = raw.startswith(b"GET ")
        self.exchanges.append(Exchange(begin, time.monotonic(), connection.port, is_read, is_expected))
        is_unavailable = response.status == HTTPStatus.SERVICE_UNAVAILABLE and "retry-after" in response.headers
        if not is_expected and not is_unavailable:
            self.problems.append(f"unexpected: {connection.port} responds with {response}")
        return response, is_expected

    def read(self, connection: Connection, target: Target) -> tuple[Response, bool]:
        """Send the request of a target, and compare its response with what was known before."""
        least = self.known
        response, is_expected = self.receive(
            connection, request(target.path, f"X-Auth-Token: {target.token}"), target.statuses
        )
        if is_expected:
            self.see(target.numbers(response), f"{connection.port} {target.path}", least)
        return response, is_expected

    def write(self, connection: Connection, path: str, token: str) -> tuple[Response, bool]:
        """Write the next number to a metadata item. The path of the item is the name of its numbers in the model.

        After an error, the number may or may not have been written.
        """
        number = self.send(path)
        response, is_expected = self.receive(connection, put_number(path, token, number))
        if is_expected:
            self.see({path: number}, "an acknowledgement")
        return response, is_expected

    def between(self, begin: float, end: float, *ports: int) -> list[Exchange]:
        """Return the exchanges with some ports that were in progress at some time between two times."""
        return [each for each in self.exchanges.copy() if each.end > begin and each.begin < end and each.port in ports]

    def since(self, begin: float, *ports: int) -> list[Exchange]:
        """Return the exchanges with some ports whose requests were sent after a time."""
        return [each for each in self.exchanges.copy() if each.begin > begin and each.port in ports]


class Worker(threading.Thread):
    """Repeats a step until it is stopped."""

    def __init__(self, model: Model) -> None:
        super().__init__(daemon=True)
        self.model = model
        self.stopped = threading.Event()

    def run(self) -> None:
        """Repeat the step. What it raises is a problem."""
        while not self.stopped.is_set():
            try:
                self.step()
            except (OSError, AssertionError) as error:
                self.model.problems.append(f"lost: {self.name}: {error!r}")
                self.stopped.wait(_RETRY_INTERVAL)

    def step(self) -> None:
        """Do what the worker repeats."""
        raise NotImplementedError


class Client(Worker):
    """Sends requests on one connection, as long as the server keeps it open."""

    def __init__(self, model: Model, port: int) -> None:
        super().__init__(model)
        self.name = f"{type(self).__name__.lower()} of {port}"
        self._port = port

    def step(self) -> None:
        """Send the requests of a connection."""
        with Connection(self._port) as connection:
            while not self.stopped.is_set():
                response, is_expected = self.exchange(connection)
                if not is_expected:
                    self.stopped.wait(_RETRY_INTERVAL)
                if response.headers.get("connection") == "close":
                    return

    def exchange(self, connection: Connection) -> tuple[Response, bool]:
        """Send a request. Return what `Model.receive` returns."""
        raise NotImplementedError


class Reader(Client):
    """Reads several targets in random order."""

    def __init__(self, model: Model, port: int, targets: Callable[[], Sequence[Target]]) -> None:
        super().__init__(model, port)
        self._targets = targets

    def exchange(self, connection: Connection) -> tuple[Response, bool]:
        """Read a target."""
        return self.model.read(connection, random.choice(self._targets()))


class Writer(Client):
    """Writes increasing numbers to a metadata item."""

    def __init__(self, model: Model, port: int, path: str, token: str, *, pause: float) -> None:
        """Set the path, and the mean time between two writes in seconds."""
        super().__init__(model, port)
        self._path = path
        self._token = token
        self._pause = pause

    def exchange(self, connection: Connection) -> tuple[Response, bool]:
        """Write the next number."""
        response, is_expected = self.model.write(connection, self._path, self._token)
        self.stopped.wait(random.expovariate(1 / self._pause))
        return response, is_expected


def put_number(path: str, token: str, number: int) -> bytes:
    """Build the request that sets a metadata item to a number."""
    body = orjson.dumps({"meta": {path.rpartition("/")[2]: str(number)}})
    return request(path, f"X-Auth-Token: {token}", JSON, f"Content-Length: {len(body)}", method="PUT") + body


@contextmanager
def working(workers: Sequence[Worker]) -> Iterator[None]:
    """Run workers until the end of the block."""
    for each in workers:
        each.start()
    try:
        yield
    finally:
        for each in workers:
            each.stopped.set()
        for each in workers:
            each.join()
