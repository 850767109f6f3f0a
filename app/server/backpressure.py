"""Backpressure: bounds the memory that clients occupy by sending much, or by reading slowly."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

MIN_BUFFERED_BYTES = 16_000_000
_BUFFERED_BYTES_PER_IMAGE = 2_000  # of the longest page: two pages with images of a kilobyte
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # the one head that no body follows
_MAX_STARTS = 16  # requests in progress before others wait, and waiting requests started in one iteration


class Connection(Protocol):
    """A connection whose data is buffered."""

    def drop(self) -> None:
        """Close the connection at once."""


class Buffers:
    """The data that a worker buffers for its connections: requests that wait, and responses that are not yet read.

    Stored responses are counted once, however many connections wait for them. Beyond the bound, the connections that
    have had buffered data for the longest time are closed. The last one is not: a single response may exceed the bound.
    """

    def __init__(self, max_bytes: int = MIN_BUFFERED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffered: dict[Connection, list[bytes]] = {}
        self._uses: Counter[int] = Counter()  # by the identity of the data
        self._bytes = 0

    def replace(self, connection: Connection, data: list[bytes]) -> None:
        """Replace the buffered data of a connection."""
        for each in data:
            self._uses[id(each)] += 1
            self._bytes += len(each) if self._uses[id(each)] == 1 else 0
        self._subtract(self._buffered.get(connection, []))
        self._buffered[connection] = data
        while self._bytes > self._max_bytes and len(self._buffered) > 1:
            longest = next(iter(self._buffered))
            self.remove(longest)
            longest.drop()

    def remove(self, connection: Connection) -> None:
        """Record that a connection has no buffered data."""
        self._subtract(self._buffered.pop(connection, []))

    def _subtract(self, data: list[bytes]) -> None:
        for each in data:
            self._uses[id(each)] -= 1
            if not self._uses[id(each)]:
                del self._uses[id(each)]
                self._bytes -= len(each)


def max_buffered_bytes(max_limit: int) -> int:
    """Return the bound for a service whose longest page has so many images."""
    return max(MIN_BUFFERED_BYTES, max_limit * _BUFFERED_BYTES_PER_IMAGE)


class WorkerState(ServerState):
    """The state that all connections of a worker share."""

    is_stopping = False

    def __init__(self, buffers: Buffers) -> None:
        super().__init__()
        self.buffers = buffers
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def is_busy(self) -> bool:
        """Whether so many requests are in progress that others wait.

        Otherwise, the responses to many simultaneous requests would all be built before any of them is sent.
        """
        return len(self.tasks) >= _MAX_STARTS

    def start_later(self, request: Callable[[], None]) -> None:
        """Start a request in a later iteration of the event loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._start_waiting)
        self._waiting.append(request)

    def _start_waiting(self) -> None:
        for _ in range(min(_MAX_STARTS, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._start_waiting)


class ReadControl(FlowControl):
    """Flow control that does not resume reading while received data waits to be parsed."""

    is_stopped = False

    def stop_reading(self) -> None:
        """Stop reading until `continue_reading`."""
        self.is_stopped = True
        self.pause_reading()

    def continue_reading(self) -> None:
        """Read again after `stop_reading`."""
        self.is_stopped = False
        self.resume_reading()

    def resume_reading(self) -> None:
        """Resume reading unless it is stopped until `continue_reading`."""
        if not self.is_stopped:
            super().resume_reading()


class ResponseWriter:
    """The part of a transport that responses use. Knows the data that the client has not read.

    uvicorn writes the head of a response and its body separately. Here, the head waits for the body, because each
    write is a system call.
    """

    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport, self._flow = transport, flow
        self.is_closing = transport.is_closing
        self._head: bytes | None = None  # not yet written; None before it is known
        self.unsent = b""

    def begin(self) -> None:
        """Begin a response."""
        self._head = None

    def write(self, data: bytes) -> None:
        """Write data. Flow control is paused before this returns if the operating system cannot buffer all of it."""
        if data == _CONTINUE:
            self._transport.write(data)
        elif self._head is None:
            self._head = data
        else:
            self.write_response(self._head, data)
            self._head = b""

    def write_response(self, head: bytes, body: bytes) -> None:
        """Write the head of a response, and the beginning of its body."""
        self.unsent = body
        self._transport.writelines((head, body))
        if not self._flow.write_paused:
            self.unsent = b""

    def end(self) -> None:
        """End a response, which may have no body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close the connection, once everything is written."""
        self.end()
        self._transport.close()
