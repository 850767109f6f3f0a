"""A raw HTTP/1.1 client, which can also send what no client library would."""

import socket
import struct
from http import HTTPStatus
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import orjson

JSON = "Content-Type: application/json"

_TIMEOUT = 20  # seconds


class Response(NamedTuple):
    """A response to one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The JSON document in the body."""
        return orjson.loads(self.body)

    @property
    def images(self) -> list[str]:
        """The ids of the images in a list."""
        assert self.status == 200, self
        return [image["id"] for image in self.document["images"]]

    @property
    def fault(self) -> tuple[int, str]:
        """The status and the name of a fault. Fails if the response is not one."""
        ((name, fault),) = self.document.items()
        assert fault.keys() == {"code", "message"}
        assert (fault["code"], self.headers["content-type"]) == (self.status, "application/json")
        return self.status, name


class Connection:
    """One connection to a server on this machine."""

    def __init__(self, port: int, *, timeout: float = _TIMEOUT, source: str | None = None) -> None:
        self.port = port
        # Bind to a source only if needed: a bound socket may connect to itself if no server listens.
        address = None if source is None else (source, 0)
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=address)
        self._in = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._in.close()
        self._socket.close()

    def send(self, *requests: bytes) -> None:
        """Send all requests at once, in one TCP segment if they are short."""
        self._socket.sendall(b"".join(requests))

    def receive(self, *, head: bool = False) -> Response:
        """Read the next response, without a body if it is the response to HEAD."""
        response = self.receive_if_any(head=head)
        assert response is not None, "The connection was closed before the response."
        return response

    def receive_if_any(self, *, head: bool = False) -> Response | None:
        """Read the next response, or return None if the connection is closed. Fails for a truncated response."""
        try:
            start = self._in.readline()
        except ConnectionResetError:
            return None
        if not start:
            return None
        headers = self._headers()
        status = int(start.split()[1])
        bare = head or status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        return Response(status, headers, b"" if bare else self._body(int(headers["content-length"])))

    def fetch(self, request: bytes) -> Response:
        """Send a request and read its response."""
        self.send(request)
        return self.receive(head=request.startswith(b"HEAD "))

    def receive_all(self) -> list[Response]:
        """Read responses until the connection is closed."""
        return list(iter(self.receive_if_any, None))

    def finish(self) -> None:
        """Close the sending side of the connection."""
        self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Reset the connection, which the server detects even while a request waits for its response."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.__exit__()

    def wait(self) -> None:
        """Wait for the first byte of the next response."""
        assert self._in.peek(1)

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while (line := self._in.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), "The response is truncated."
            name, value = line.decode("ascii").strip().split(": ", 1)
            assert name not in headers
            headers[name] = value
        return headers

    def _body(self, length: int) -> bytes:
        body = self._in.read(length)
        assert len(body) == length, f"The response is truncated: {len(body)} of {length} bytes."
        return body


def request(target: str | bytes, *headers: str, method: str = "GET", host: str = "compute.test") -> bytes:
    """Build a request; a target in bytes is not encoded."""
    raw = target if isinstance(target, bytes) else target.encode("ascii")
    lines = [f"Host: {host}", *headers, "", ""]
    return method.encode("ascii") + b" " + raw + b" HTTP/1.1\r\n" + "\r\n".join(lines).encode("ascii")


def percent_encoded(text: str) -> str:
    return quote(text, safe="")


def fetch(port: int, raw: bytes) -> Response:
    """Send a request on a new connection and read its response."""
    with Connection(port) as connection:
        return connection.fetch(raw)
