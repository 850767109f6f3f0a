"""HTTP/1.1 as uvicorn speaks it, and what it lacks: faults for what is no HTTP, bounds, and deadlines."""

import asyncio
import logging
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.middleware.request_id import REQUEST_ID_HEADERS, RequestIdGenerator

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from app.contract.document import Contract

# What the head of a request may be: bytes, bytes of its URL, and headers. Seconds: for a head to come, for what is left
# of a body that nobody reads, and for a client to read on.
MAX_HEAD_BYTES, MAX_URL_BYTES, MAX_HEADERS = 65_536, 16_384, 100
HEAD_TIMEOUT, WRITE_TIMEOUT = 10, 60

_MESSAGES = {
    HTTPStatus.BAD_REQUEST: "The request could not be read: its method, URL, headers or body are no HTTP/1.1.",
    HTTPStatus.REQUEST_TIMEOUT: f"The request did not come within {HEAD_TIMEOUT} seconds.",
    HTTPStatus.REQUEST_URI_TOO_LONG: f"The URL is longer than {MAX_URL_BYTES} bytes.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        f"The URL and headers are over {MAX_HEAD_BYTES} bytes, or there are over {MAX_HEADERS} headers."
    ),
}

_log = logging.getLogger(__name__)


class Timeout:
    """Does something unless it is lifted in time."""

    def __init__(self, otherwise: Callable[[], None]) -> None:
        self._otherwise = otherwise
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Begin to wait, for so long from now; or go on to wait."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._otherwise)

    def lift(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    What is no HTTP, or more than may be, or late, is refused after the answers to what came before, in order, and ends
    the connection: nobody can say where the next request begins. uvicorn would refuse at once, and lose or scramble the
    answers that are on their way; it bounds no head, and waits for one for ever. Nor would it tell the request that it
    is answering, only the newest, that the client has gone.
    """

    faults: ClassVar[dict[HTTPStatus, bytes]] = {}  # the bodies of refusals
    new_id = RequestIdGenerator()
    _refusal: HTTPStatus | None = None
    _in_head = False
    _open = _pieces = 0  # bytes that came since anything was whole; and for a head, with all of the piece it began in
    _read = b""
    _answering: RequestResponseCycle | None = None

    @classmethod
    def prepare(cls, contract: "Contract") -> None:
        """Write the faults that are answered without an application, and begin ids of the worker's own."""
        cls.faults = {status: contract.fault(status, message) for status, message in _MESSAGES.items()}
        cls.new_id = RequestIdGenerator()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._coming, self._going = Timeout(self._late), Timeout(transport.abort)
        self._coming.set(HEAD_TIMEOUT)

    def data_received(self, data: bytes) -> None:
        """Read on, unless something was refused."""
        if self._refusal:
            return
        self._read = data
        self._open += len(data)
        self._pieces = self._pieces + len(data) if self._in_head else len(data)
        super().data_received(data)
        if self._refusal:
            return
        # uvicorn begins a scope with a head, and a cycle with the scope when that is complete.
        self._in_head = self.scope is not (self.cycle and self.cycle.scope)
        if self._open > MAX_HEAD_BYTES or (self._in_head and self._is_too_long()):
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._in_head or (self.cycle and self.cycle.response_complete):  # that may be no more than an empty line
            self._coming.set(HEAD_TIMEOUT)

    def on_headers_complete(self) -> None:
        """Begin a request, unless it is refused, or is to be read again."""
        self._coming.lift()
        self._open = 0
        refusal = self._check_head()
        if refusal:
            self._refuse(refusal)
            raise ValueError(refusal)  # or httptools would read on
        if not self.url.startswith(b"/"):
            self._take_host_from_url()
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self.headers = []  # of the scope are those that came until now: what follows a body is none

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._open = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, unless it is to be read again."""
        self._open = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()
            self.cycle.more_body = False  # even where the answer went before, and uvicorn does not care

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 uvicorn's own words
        """Refuse what is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST)

    def on_response_complete(self) -> None:
        """Go on to the next request, or to what is refused."""
        super().on_response_complete()
        if self._refusal and self.cycle.response_complete and not self.transport.is_closing():
            self._answer_refused(self._refusal)
        elif self.cycle.response_complete and self.cycle.more_body:
            self._coming.set(HEAD_TIMEOUT)

    def pause_writing(self) -> None:
        """Wait for a client that does not read, and not for ever."""
        super().pause_writing()
        self._going.set(WRITE_TIMEOUT)

    def resume_writing(self) -> None:
        """Write on."""
        self._going.lift()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of what was begun and what was to come."""
        self._coming.lift()
        self._going.lift()
        if self._answering and not self._answering.response_complete:
            self._answering.disconnected = True
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Read a request again as if it asked for no Upgrade, which HTTP lets a server ignore.

        httptools takes what follows its headers for another protocol: a body would be the next request. CONNECT asks
        for one in any case, and for nothing that is here.
        """
        if self.parser.get_method() == b"CONNECT":
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        stopped = sys.exception()  # where uvicorn calls this, httptools has just said how far it read
        rest = self._read[stopped.args[0] :] if stopped else b""
        version = self.parser.get_http_version().encode("ascii")
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does with its own
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _check_head(self) -> HTTPStatus | None:
        if len(self.url) > MAX_URL_BYTES:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        if len(self.headers) > MAX_HEADERS or self._is_too_long():
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return None if self._is_unmistakable() else HTTPStatus.BAD_REQUEST

    def _is_unmistakable(self) -> bool:
        """Tell whether all who read the head on its way found this request in it (RFC 9112, sections 2.3, 3.2, 6.1).

        httptools takes HTTP/2.0 in lines, a request for no host and one for two, and codings that it does not undo.
        """
        names = [name for name, _ in self.headers]
        hosts, coded = names.count(b"host"), b"transfer-encoding" in names
        version = self.parser.get_http_version()
        if version == "1.0":  # which knew neither
            return hosts <= 1 and not coded
        return version == "1.1" and hosts == 1 and (not coded or self._is_chunked())

    def _is_chunked(self) -> bool:
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        return codings == [b"chunked"]

    def _take_host_from_url(self) -> None:
        """Believe the URL where it names a host, as a proxy does that is asked with it (RFC 9112, section 3.2.2)."""
        host = self.url.partition(b"://")[2].partition(b"/")[0]
        if host:
            self.headers[:] = [(name, host if name == b"host" else value) for name, value in self.headers]

    def _is_too_long(self) -> bool:
        """Tell whether a head is: only where as much came at all is it worth the counting."""
        return (
            self._pieces > MAX_HEAD_BYTES
            and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES
        )

    def _late(self) -> None:
        if self._in_head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:  # it never began, or sends a body that nobody reads
            self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        """Refuse what came, as soon as its turn comes."""
        if self._refusal is None:
            self._refusal = status
            self._coming.lift()
            if self.cycle and self.cycle.response_complete and self.cycle.more_body:
                self.transport.close()  # what is wrong belongs to a request that was answered
            elif self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
                self._answer_refused(status)

    def _answer_refused(self, status: HTTPStatus) -> None:
        body, request_id = self.faults[status], self.new_id()
        _log.info("%s was refused: %s", request_id, status.phrase)
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            "content-type: application/json",
            "connection: close",
            f"content-length: {len(body)}",
            *(f"{name}: {request_id}" for name in REQUEST_ID_HEADERS),
        ]
        self.transport.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii") + body)
        self.transport.close()
