"""HTTP/1.1 for uvicorn, with limits, timeouts and Compute faults for requests that never reach the application."""

import asyncio
from http import HTTPStatus
from typing import ClassVar

from httptools import HttpParserError, HttpParserUpgrade

from app.server.pipelining import PipelinedProtocol
from app.server.rejections import Rejections
from app.server.request_head import MAX_HEAD_BYTES, is_too_long, take_host_from_url, validate_head
from app.server.timeouts import HEAD_TIMEOUT, WRITE_TIMEOUT, Timeout

_OPTIONAL_WHITESPACE = b" \t"


class HttpProtocol(PipelinedProtocol):
    """One connection.

    Malformed, oversized and timed-out requests are rejected once earlier responses are sent. The connection is then
    closed, because the start of the next request is unknown. uvicorn rejects at once, which loses or garbles responses
    in progress; it limits neither the size of a head nor the time to receive one.
    """

    head_timeout: ClassVar[float] = HEAD_TIMEOUT
    write_timeout: ClassVar[float] = WRITE_TIMEOUT
    rejections: ClassVar[Rejections]  # those of this worker
    _in_head = False
    _pending_bytes = 0  # received since the last complete head, piece of a body, or message
    _head_bytes = 0  # received for this head, including all of the data in which it began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        super().connection_made(transport)
        self._receive_timeout, self._send_timeout = Timeout(self._on_timeout), Timeout(transport.abort)
        self._receive_timeout.start(self.head_timeout)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. White space after a value is not part of it (RFC 9112, section 5.1)."""
        name, value = name.lower(), value.rstrip(_OPTIONAL_WHITESPACE)
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request, unless it is rejected or has to be parsed again."""
        self._receive_timeout.cancel()
        self._pending_bytes = 0
        is_upgrade = self.parser.should_upgrade()
        status = validate_head(self.url, self.parser.get_http_version(), self.headers, self._head_bytes)
        if is_upgrade and self.parser.get_method() == b"CONNECT":  # the service is no proxy
            status = HTTPStatus.BAD_REQUEST
        if status:
            self._reject(status)
            raise ValueError(status)  # stops httptools
        if not self.url.startswith(b"/"):
            take_host_from_url(self.url, self.headers)
        if not is_upgrade:
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
        """Cancel the timers."""
        self._receive_timeout.cancel()
        self._send_timeout.cancel()
        super().connection_lost(exc)

    def _feed(self, data: bytes) -> None:
        """Feed the parser, and limit what it has received of a head."""
        self._pending_bytes += len(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else len(data)
        try:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                self._parse_without_upgrade(len(data) - upgrade.args[0])
        except HttpParserError:
            self._reject(HTTPStatus.BAD_REQUEST)
        if self._rejection:
            return
        # uvicorn creates a scope when a head begins, and the cycle of that scope when the head is complete.
        self._in_head = self.scope is not (self.cycle and self.cycle.scope)
        is_large_head = self._in_head and self._head_bytes > MAX_HEAD_BYTES
        if self._pending_bytes > MAX_HEAD_BYTES or (is_large_head and is_too_long(self.url, self.headers)):
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._in_head or (self.cycle and self.cycle.response_complete):  # an empty line may follow a response
            self._receive_timeout.start(self.head_timeout)

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
        self.rejections.record(status)
        if self.cycle and not self.cycle.response_complete:  # the application waits for the rest of the body
            self.cycle.scope["state"]["is_recorded"] = True
        self.transport.write(self.rejections.build(status))
        self.transport.close()
