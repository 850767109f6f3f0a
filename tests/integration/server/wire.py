"""HTTP/1.1 as it is on the wire: bytes out, answers in. It sends what no client library would."""

import socket
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import orjson

_PATIENCE = 20  # seconds


class Answer(NamedTuple):
    """What came for one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """What the body says."""
        return orjson.loads(self.body)

    @property
    def images(self) -> list[str]:
        """The ids of the images of a list."""
        assert self.status == 200, self
        return [image["id"] for image in self.document["images"]]

    @property
    def fault(self) -> tuple[int, str]:
        """The status and the name of a fault, which has to be one."""
        ((name, fault),) = self.document.items()
        assert fault.keys() == {"code", "message"}
        assert (fault["code"], self.headers["content-type"]) == (self.status, "application/json")
        return self.status, name


class Connection:
    """One connection to a server on this machine."""

    def __init__(self, port: int, *, patience: float = _PATIENCE, source: str | None = None) -> None:
        self.port = port
        # A source that is asked for has its port before it connects: where nobody listens, it may reach itself.
        address = None if source is None else (source, 0)
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=patience, source_address=address)
        self._in = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in.close()
        self._socket.close()

    def send(self, *requests: bytes) -> None:
        """Send all at once, as one piece where they are short."""
        self._socket.sendall(b"".join(requests))

    def receive(self, *, head: bool = False) -> Answer:
        """Read the next answer; that of a HEAD has no body."""
        answer = self.receive_if_any(head=head)
        assert answer is not None, "The connection ended before the answer."
        return answer

    def receive_if_any(self, *, head: bool = False) -> Answer | None:
        """Read the next answer, or None where the connection ended before it began; none may end in its middle."""
        try:
            start = self._in.readline()
        except ConnectionResetError:
            return None
        if not start:
            return None
        headers = self._headers()
        status = int(start.split()[1])
        bare = head or status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        return Answer(status, headers, b"" if bare else self._body(int(headers["content-length"])))

    def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer."""
        self.send(request)
        return self.receive(head=request.startswith(b"HEAD "))

    def receive_all(self) -> list[Answer]:
        """Read answers until the connection ends."""
        return list(iter(self.receive_if_any, None))

    def finish(self) -> None:
        """Say that nothing more is sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def wait(self) -> None:
        """Wait until the next answer has begun."""
        assert self._in.peek(1)

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while (line := self._in.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), "The answer was cut short."
            name, value = line.decode("ascii").strip().split(": ", 1)
            assert name not in headers
            headers[name] = value
        return headers

    def _body(self, length: int) -> bytes:
        body = self._in.read(length)
        assert len(body) == length, f"The answer was cut short: {len(body)} of {length} bytes came."
        return body


def request(target: str | bytes, *headers: str, method: str = "GET", host: str = "compute.test") -> bytes:
    """Write a request; a target in bytes is sent as it is."""
    raw = target if isinstance(target, bytes) else target.encode("ascii")
    lines = [f"Host: {host}", *headers, "", ""]
    return method.encode("ascii") + b" " + raw + b" HTTP/1.1\r\n" + "\r\n".join(lines).encode("ascii")


def percent_encoded(text: str) -> str:
    """Write a text as it is in a URL: every character of it that has a meaning there, encoded."""
    return quote(text, safe="")


def ask(port: int, raw: bytes) -> Answer:
    """Send a request on a connection of its own."""
    with Connection(port) as connection:
        return connection.ask(raw)
