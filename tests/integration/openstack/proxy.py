"""A proxy in front of Glance, which does to some requests what it is told to."""

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

_PATIENCE = 20  # seconds, for Glance
_RESET = struct.pack("ii", 1, 0)  # a connection that is closed is cut off at once, and not told to end


class Answer(NamedTuple):
    """What Glance answers."""

    status: int
    kind: str
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    """A request, and the ways to have it end."""

    server: "_Server"

    def do_GET(self) -> None:
        """Do what this request is to meet."""
        try:
            self.server.fault_of(f"{self.command} {self.path}")(self)
        except ConnectionError:
            self.close_connection = True  # whoever asked has gone

    def forward(self) -> Answer:
        """Ask Glance."""
        glance = HTTPConnection(self.server.glance, timeout=_PATIENCE)
        try:
            glance.request(self.command, self.path, headers=dict(self.headers))
            answer = glance.getresponse()
            return Answer(answer.status, answer.headers["Content-Type"], answer.read())
        finally:
            glance.close()

    def answer(self, answer: Answer, *, length: int | None = None) -> None:
        """Answer, maybe with another length than the body has."""
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body) if length is None else length))
        self.end_headers()
        self.wfile.write(answer.body)

    def reset(self) -> None:
        """Cut the connection off."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.connection.close()

    def wait(self, seconds: float) -> None:
        """Be silent, for so many seconds or until the proxy ends."""
        self.server.ended.wait(seconds)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name of the parameter
        """Say nothing: the requests are counted."""


Fault = Callable[[Exchange], None]


def pass_on(exchange: Exchange) -> None:
    """Have Glance answer."""
    exchange.server.last = exchange.forward()
    exchange.answer(exchange.server.last)


def repeat(exchange: Exchange) -> None:
    """Answer what Glance answered before."""
    exchange.answer(exchange.server.last)


def reset(exchange: Exchange) -> None:
    """Answer half, and cut the connection off."""
    answer = exchange.forward()
    exchange.answer(answer._replace(body=_half(answer.body)), length=len(answer.body))
    exchange.reset()


def hang_up(exchange: Exchange) -> None:
    """Cut the connection off without an answer."""
    exchange.reset()


def empty(exchange: Exchange) -> None:
    """Answer nothing, as if that were something."""
    exchange.answer(Answer(200, "application/json", b""))


def cut_short(exchange: Exchange) -> None:
    """Answer half, which says that it is the whole."""
    answer = exchange.forward()
    exchange.answer(answer._replace(body=_half(answer.body)))


def end_early(exchange: Exchange) -> None:
    """Answer half, which says that there is more, and end."""
    answer = exchange.forward()
    exchange.answer(answer._replace(body=_half(answer.body)), length=len(answer.body))


def failing(status: int) -> Fault:
    """Answer with a status, and nothing else that means something."""
    return lambda exchange: exchange.answer(Answer(status, "text/html", b"<h1>It failed</h1>"))


def silent(seconds: float) -> Fault:
    """Have Glance answer only after some seconds."""

    def fault(exchange: Exchange) -> None:
        exchange.wait(seconds)
        pass_on(exchange)

    return fault


def saying(document: Any) -> Fault:
    """Answer with another document."""
    return lambda exchange: exchange.answer(Answer(200, "application/json", orjson.dumps(document)))


def edited(edit: Callable[[Any], Any]) -> Fault:
    """Answer with what becomes of Glance's own document."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.answer(answer._replace(body=orjson.dumps(edit(orjson.loads(answer.body)))))

    return fault


def after(action: Callable[[], object]) -> Fault:
    """Have something happen, and then have Glance answer."""

    def fault(exchange: Exchange) -> None:
        action()
        pass_on(exchange)

    return fault


@dataclass
class _Rule:
    """Which requests meet a fault, and how many do not yet, and still do."""

    pattern: re.Pattern[str]
    fault: Fault
    skipping: int
    times: float

    def meets(self, request: str) -> bool:
        if not self.pattern.search(request):
            return False
        if self.skipping:
            self.skipping -= 1
            return False
        self.times -= 1
        return self.times >= 0


class _Server(ThreadingHTTPServer):
    last: Answer

    def __init__(self, address: tuple[str, int], glance: str, requests: list[str], rules: list[_Rule]) -> None:
        super().__init__(address, Exchange)
        self.glance = glance
        self.ended = threading.Event()
        self._requests = requests
        self._rules = rules

    def fault_of(self, request: str) -> Fault:
        """Note that a request came, and tell what it is to meet."""
        self._requests.append(request)
        return next((rule.fault for rule in self._rules if rule.meets(request)), pass_on)


def _half(body: bytes) -> bytes:
    return body[: len(body) // 2]


class Proxy:
    """A proxy on a port of its own."""

    def __init__(self, origin: str) -> None:
        """Take the origin of Glance."""
        self._glance = urlsplit(origin).netloc
        self._address = ("127.0.0.1", 0)
        self._rules: list[_Rule] = []
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        """Where to find it instead of Glance."""
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
        """Have it refuse connections until the end of the block."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    @contextmanager
    def meeting(self, fault: Fault, *, to: str, skipping: int = 0, times: float = float("inf")) -> Iterator[None]:
        """Have requests meet a fault until the end of the block.

        It is done to those that a regular expression finds something in, but not to the first of them, and so many
        times.
        """
        rule = _Rule(re.compile(to), fault, skipping, times)
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
