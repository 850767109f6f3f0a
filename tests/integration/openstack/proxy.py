"""A proxy in front of Glance that injects faults into some requests."""

import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

_TIMEOUT = 20  # seconds, for Glance
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing the connection sends RST instead of FIN


class Response(NamedTuple):
    """A response of Glance."""

    status: int
    content_type: str
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """A request, and the ways in which it can end."""

    server: "_Server"

    def do_GET(self) -> None:
        """Run the fault for this request, or forward the request."""
        try:
            self.server.fault_of(f"{self.command} {self.path}")(self)
        except ConnectionError:
            self.close_connection = True  # the client has closed it

    def forward(self) -> Response:
        """Send the request to Glance, and return its response."""
        glance = HTTPConnection(self.server.glance, timeout=_TIMEOUT)
        try:
            glance.request(self.command, self.path, headers=dict(self.headers))
            response = glance.getresponse()
            return Response(response.status, response.headers["Content-Type"], response.read())
        finally:
            glance.close()

    def respond(self, response: Response, *, length: int | None = None) -> None:
        """Send a response, with a wrong Content-Length if one is given."""
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body) if length is None else length))
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name of the parameter
        """Log nothing: the requests are recorded."""


Fault = Callable[[Exchange], None]


def forward(exchange: Exchange) -> None:
    exchange.server.last_response = exchange.forward()
    exchange.respond(exchange.server.last_response)


def repeat_last(exchange: Exchange) -> None:
    exchange.respond(exchange.server.last_response)


def reset_connection(exchange: Exchange) -> None:
    end_body_early(exchange)
    close_without_response(exchange)


def close_without_response(exchange: Exchange) -> None:
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    exchange.connection.close()


def respond_with_nothing(exchange: Exchange) -> None:
    exchange.respond(Response(200, "application/json", b""))


def truncate_body(exchange: Exchange) -> None:
    """Return half of the body, with a Content-Length that matches."""
    response = exchange.forward()
    exchange.respond(response._replace(body=response.body[: len(response.body) // 2]))


def end_body_early(exchange: Exchange) -> None:
    """Return half of the body, with the Content-Length of all of it."""
    response = exchange.forward()
    exchange.respond(response._replace(body=response.body[: len(response.body) // 2]), length=len(response.body))


def respond_with_status(status: int) -> Fault:
    return lambda exchange: exchange.respond(Response(status, "text/html", b"<h1>It failed</h1>"))


def delay(seconds: float) -> Fault:
    def fault(exchange: Exchange) -> None:
        exchange.server.ended.wait(seconds)
        forward(exchange)

    return fault


def respond_with(document: Any) -> Fault:
    return lambda exchange: exchange.respond(Response(200, "application/json", orjson.dumps(document)))


def edit_document(edit: Callable[[Any], Any]) -> Fault:
    def fault(exchange: Exchange) -> None:
        response = exchange.forward()
        exchange.respond(response._replace(body=orjson.dumps(edit(orjson.loads(response.body)))))

    return fault


def run_first(action: Callable[[], object]) -> Fault:
    def fault(exchange: Exchange) -> None:
        action()
        forward(exchange)

    return fault


_Rule = Callable[[str], Fault | None]  # returns the fault for a request, if there is one


class _Server(ThreadingHTTPServer):
    last_response: Response

    def __init__(self, address: tuple[str, int], glance: str, requests: list[str], rules: list[_Rule]) -> None:
        super().__init__(address, Exchange)
        self.glance = glance
        self.ended = threading.Event()
        self._requests = requests
        self._rules = rules

    def fault_of(self, request: str) -> Fault:
        """Record a request, and return the fault that applies to it."""
        self._requests.append(request)
        return next(filter(None, (rule(request) for rule in self._rules)), forward)


class Proxy:
    """A proxy on a port of its own."""

    def __init__(self, origin: str) -> None:
        self._glance = urlsplit(origin).netloc
        self._address = ("127.0.0.1", 0)
        self._rules: list[_Rule] = []
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        """Return the URL that clients use instead of Glance's."""
        return "http://{}:{}".format(*self._address)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it until the end of the block."""
        self._start()
        try:
            yield
        finally:
            self._stop()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Refuse connections until the end of the block."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    @contextmanager
    def injecting(self, fault: Fault, *, into: str, skip: int = 0, times: float = float("inf")) -> Iterator[None]:
        """Inject a fault into the requests that a regular expression matches, until the end of the block."""
        matches = itertools.count()

        def rule(request: str) -> Fault | None:
            return fault if re.search(into, request) and skip <= next(matches) < skip + times else None

        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)

    def _start(self) -> None:
        self._server = _Server(self._address, self._glance, self.requests, self._rules)
        self._address = ("127.0.0.1", self._server.server_port)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def _stop(self) -> None:
        self._server.ended.set()
        self._server.shutdown()
        self._server.server_close()
