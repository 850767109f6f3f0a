"""HTTP/1.1 for uvicorn, with limits, timeouts and Compute faults for requests that never reach the application."""

import asyncio
import logging
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.context import RequestContext, current_request
from app.middleware.request_id import REQUEST_ID_HEADERS, RequestIdGenerator

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from app.contract.document import Contract

# Limits of a request head (request line and headers). The same number of bytes limits trailers and chunk extensions.
MAX_HEAD_BYTES, MAX_URL_BYTES, MAX_HEADERS = 65_536, 16_384, 100
HEAD_TIMEOUT = 10  # seconds, for a request head, and for the rest of a body after the response was sent
WRITE_TIMEOUT = 60  # seconds, for a client that stops reading

_MESSAGES = {
    HTTPStatus.BAD_REQUEST: "The request is malformed: its method, URL, headers or body are not valid HTTP/1.1.",
    HTTPStatus.REQUEST_TIMEOUT: f"The request timed out: its headers were not received within {HEAD_TIMEOUT} seconds.",
    HTTPStatus.REQUEST_URI_TOO_LONG: f"The URL is longer than {MAX_URL_BYTES} bytes.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        f"The URL and headers are longer than {MAX_HEAD_BYTES} bytes, or there are more than {MAX_HEADERS} headers."
    ),
}

_log = logging.getLogger(__name__)


class Timeout:
    """Calls a function after some time, unless it is cancelled."""

    def __init__(self, on_timeout: Callable[[], None]) -> None:
        self._on_timeout = on_timeout
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Start the timer, unless it is running already."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timeout)

    def cancel(self) -> None:
        """Stop the timer if it is running."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    Malformed, oversized and timed-out requests are rejected once earlier responses are sent. The connection is then
    closed, because the start of the next request is unknown. uvicorn rejects at once, which loses or garbles responses
    in progress; it limits neither the size of a head nor the time to receive one. If the client disconnects, uvicorn
    notifies only the newest request of a pipeline; this class notifies the one that is being processed.
    """

    head_timeout: ClassVar[float] = HEAD_TIMEOUT
    write_timeout: ClassVar[float] = WRITE_TIMEOUT
    faults: ClassVar[dict[HTTPStatus, bytes]] = {}  # response bodies of rejections
    new_id = RequestIdGenerator()
    _rejection: HTTPStatus | None = None
    _in_head = False
    _pending_bytes = 0  # received since the last complete head, piece of a body, or message
    _head_bytes = 0  # received for this head, including all of the data in which it began
    _received = b""
    _responding: RequestResponseCycle | None = None

    @classmethod
    def prepare(cls, contract: "Contract") -> None:
        """Serialize the faults, and start a sequence of request ids for this worker."""
        cls.faults = {status: contract.fault(status, message) for status, message in _MESSAGES.items()}
        cls.new_id = RequestIdGenerator()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        super().connection_made(transport)
        self._receive_timeout, self._send_timeout = Timeout(self._on_timeout), Timeout(transport.abort)
        self._receive_timeout.start(self.head_timeout)

    def data_received(self, data: bytes) -> None:
        """Parse the data, unless a request of this connection was rejected."""
        if self._rejection:
            return
        self._received = data
        self._pending_bytes += len(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else len(data)
        super().data_received(data)
        if self._rejection:
            return
        # uvicorn creates a scope when a head begins, and the cycle of that scope when the head is complete.
        self._in_head = self.scope is not (self.cycle and self.cycle.scope)
        if self._pending_bytes > MAX_HEAD_BYTES or (self._in_head and self._is_too_long()):
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._in_head or (self.cycle and self.cycle.response_complete):  # an empty line may follow a response
            self._receive_timeout.start(self.head_timeout)

    def on_headers_complete(self) -> None:
        """Start the request, unless it is rejected or has to be parsed again."""
        self._receive_timeout.cancel()
        self._pending_bytes = 0
        status = self._validate_head()
        if status:
            self._reject(status)
            raise ValueError(status)  # stops httptools
        if not self.url.startswith(b"/"):
            self._take_host_from_url()
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self.headers = []  # uvicorn would add trailers to the list of headers in the scope

    def on_body(self, body: bytes) -> None:
        """Pass a piece of a body on."""
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Complete the request, unless it has to be parsed again."""
        self._pending_bytes = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()
            self.cycle.more_body = False  # uvicorn omits this if the response was sent before the body was received

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 uvicorn's own message
        """Reject a request that httptools cannot parse."""
        self._reject(HTTPStatus.BAD_REQUEST)

    def on_response_complete(self) -> None:
        """Continue with the next request, or reject it."""
        super().on_response_complete()
        if self._rejection and self.cycle.response_complete and not self.transport.is_closing():
            self._send_rejection(self._rejection)
        elif self.cycle.response_complete and self.cycle.more_body:
            self._receive_timeout.start(self.head_timeout)

    def pause_writing(self) -> None:
        """Limit the time to wait for a client that does not read."""
        super().pause_writing()
        self._send_timeout.start(self.write_timeout)

    def resume_writing(self) -> None:
        """Continue to write."""
        self._send_timeout.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and notify the request that is being processed."""
        self._receive_timeout.cancel()
        self._send_timeout.cancel()
        if self._responding and not self._responding.response_complete:
            self._responding.disconnected = True
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._responding = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Parse a request again without its Upgrade header, which HTTP lets a server ignore.

        httptools treats the data after the headers as another protocol, so that a body would become the next request.
        CONNECT always implies an upgrade and is not supported.
        """
        if self.parser.get_method() == b"CONNECT":
            self._reject(HTTPStatus.BAD_REQUEST)
            return
        stopped = sys.exception()  # uvicorn calls this while it handles httptools' exception, which has the offset
        rest = self._received[stopped.args[0] :] if stopped else b""
        version = self.parser.get_http_version().encode("ascii")
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn configures its parser
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _validate_head(self) -> HTTPStatus | None:
        """Return the status with which to reject the request, or None."""
        if len(self.url) > MAX_URL_BYTES:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        if len(self.headers) > MAX_HEADERS or self._is_too_long():
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return None if self._is_unambiguous() else HTTPStatus.BAD_REQUEST

    def _is_unambiguous(self) -> bool:
        """Return whether any proxy parses this head as the same request (RFC 9112, sections 2.3, 3.2 and 6.1).

        httptools accepts version 2.0, a missing or repeated Host, and transfer codings that it does not decode.
        """
        names = [name for name, _ in self.headers]
        hosts, has_coding = names.count(b"host"), b"transfer-encoding" in names
        version = self.parser.get_http_version()
        if version == "1.0":  # has neither Host nor Transfer-Encoding
            return hosts <= 1 and not has_coding
        return version == "1.1" and hosts == 1 and (not has_coding or self._is_chunked())

    def _is_chunked(self) -> bool:
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        return codings == [b"chunked"]

    def _take_host_from_url(self) -> None:
        """Replace the Host header by the host of an absolute URL, which takes precedence (RFC 9112, section 3.2.2)."""
        host = self.url.partition(b"://")[2].partition(b"/")[0]
        if host:
            self.headers[:] = [(name, host if name == b"host" else value) for name, value in self.headers]

    def _is_too_long(self) -> bool:
        """Return whether URL and headers exceed the limit; they are counted only if enough bytes were received."""
        if self._head_bytes <= MAX_HEAD_BYTES:
            return False
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES

    def _on_timeout(self) -> None:
        if self._in_head:
            self._reject(HTTPStatus.REQUEST_TIMEOUT)
        else:  # no request was begun, or the rest of a body does not arrive after its response
            self.transport.close()

    def _reject(self, status: HTTPStatus) -> None:
        """Reject the request that is being received, now or after the responses to earlier ones."""
        if self._rejection is None:
            self._rejection = status
            self._receive_timeout.cancel()
            if self.cycle and self.cycle.response_complete and self.cycle.more_body:
                self.transport.close()  # the error is in the body of a request that has its response already
            elif self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
                self._send_rejection(status)

    def _send_rejection(self, status: HTTPStatus) -> None:
        body, request_id = self.faults[status], self.new_id()
        reset = current_request.set(RequestContext(request_id))
        _log.info("Request rejected: %s", status.phrase)
        current_request.reset(reset)
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            *("content-type: application/json", "connection: close", "x-content-type-options: nosniff"),
            f"content-length: {len(body)}",
            *(f"{name}: {request_id}" for name in REQUEST_ID_HEADERS),
        ]
        self.transport.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii") + body)
        self.transport.close()
