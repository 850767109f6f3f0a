"""Reads pipelined requests one at a time, in bounded memory."""

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.server.backpressure import ReadControl, ResponseWriter, WorkerState
from app.server.cached_responses import CachedResponses, PendingResponse
from app.server.request_head import without_upgrade
from app.server.timeouts import LAST_REQUEST_TIMEOUT

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_HEAD_END = b"\r\n\r\n"  # the end of a request head
_MAX_PARSED_BYTES = 16_384  # in one iteration of the event loop

_log = logging.getLogger(__name__)


class PipelinedProtocol(HttpToolsProtocol):
    """One connection. Its next request is parsed once the client has read the response to the previous one.

    uvicorn parses everything that it receives, and resumes reading at each response. Here, at most one request is
    parsed before the response to the previous one is sent, and nothing is read while received data waits. A request is
    started once the client has read the previous response, so a connection holds at most one response.
    """

    cached_responses: ClassVar[CachedResponses | None] = None  # of this worker; without it, the application responds
    server_state: WorkerState
    flow: ReadControl
    _received = b""
    _position = 0  # of the first unparsed byte in the received data
    _is_at_eof = False
    _rejection: HTTPStatus | None = None  # the status of a rejected request; nothing is parsed after it
    _responding: RequestResponseCycle | None = None  # the request that is being processed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Prepare flow control."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        self.flow = ReadControl(transport)
        self._writer = ResponseWriter(transport, self.flow)
        if self.server_state.is_stopping:
            self.shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse the data, or store it until it can be parsed."""
        if self._rejection:
            return
        self._received = self._received[self._position :] + data if self._received else data
        self._position = 0
        self._parse()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open if a complete request waits for its response."""
        self._is_at_eof = True
        return not self._can_parse()

    def on_response_complete(self) -> None:
        """Continue with the next request."""
        self._writer.end()
        super().on_response_complete()
        if self.flow.write_paused:  # the keep-alive timeout starts when the client has read the response
            self._unset_keepalive_if_required()
        if self._received or self._is_at_eof:
            self._parse()

    def pause_writing(self) -> None:
        """Account for a response that the client does not read."""
        super().pause_writing()
        self._update_buffers()

    def resume_writing(self) -> None:
        """Continue with the next request."""
        super().resume_writing()
        self._writer.unsent = b""
        self._update_buffers()
        if self.transport.is_closing() or (self._responding and not self._responding.response_complete):
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._start_keep_alive()
        self._parse()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the request that is being processed. uvicorn notifies only the newest request of a pipeline."""
        if self._responding and not self._responding.response_complete:
            self._responding.disconnected = True
        self.pipeline.clear()
        self._received = self._writer.unsent = b""  # freed now; this object waits for the garbage collector
        super().connection_lost(exc)
        self.server_state.buffers.remove(self)

    def drop(self) -> None:
        """Close the connection at once."""
        _log.warning("Connection closed: its client reads too slowly, or sends more than it reads.")
        self.transport.abort()

    def shutdown(self) -> None:
        """Close the connection after the response to the last received request, or after a short idle time."""
        self.timeout_keep_alive = LAST_REQUEST_TIMEOUT  # type: ignore[assignment]  # may be a float
        if self._responding is None or self._responding.response_complete:
            self._start_keep_alive()
        elif not self._responding.response_started and not self._has_more():
            self._responding.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        if self.flow.write_paused:
            self.pipeline.append((cycle, app))
            return
        self._responding = cycle
        # In the next iteration of the event loop: the version of the catalog is read once for each iteration, and other
        # connections may still receive requests in this one.
        self.loop.call_soon(self._respond, cycle, app)

    def _respond(
        self, cycle: RequestResponseCycle, app: "ASGI3Application", pending: PendingResponse | None = None
    ) -> None:
        """Send the stored response to a request, once the catalog's version is known, or start the application."""
        if cycle.disconnected and not (pending and pending.has_access_log):
            return
        if self.server_state.is_stopping and not self._has_more():
            cycle.keep_alive = False
        if self.cached_responses and cycle.keep_alive and not cycle.disconnected:
            headers = self.server_state.default_headers
            response = (
                self.cached_responses.complete(pending, cycle.scope, headers)
                if pending
                else self.cached_responses.build(cycle.scope, headers)
            )
            if isinstance(response, PendingResponse):  # with a task, a request would take 63 instead of 43 µs
                response.version.add_done_callback(lambda _: self._respond(cycle, app, response))
                return
            if response:
                self._writer.write_response(response.head, response.body)
                cycle.response_started = cycle.response_complete = True
                self.on_response_complete()
                return
        self._writer.begin()
        cycle.transport = self._writer  # type: ignore[assignment]
        if self.server_state.is_busy:
            self.server_state.start_later(partial(self._start_application, cycle, app))
        else:
            super()._start_asgi_task(cycle, app)

    def _start_application(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        if not cycle.disconnected:
            super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        """Feed the parser. A subclass implements this, and enforces limits."""
        raise NotImplementedError

    def _parse_without_upgrade(self, unparsed: int) -> None:
        """Parse a head again without its Upgrade header, which a server may ignore (RFC 9110, section 7.8).

        httptools stopped after the head, and left `unparsed` bytes, because it assumes that another protocol follows.
        If these bytes were simply parsed next, a body would be parsed as a request.
        """
        self._position -= unparsed
        head = without_upgrade(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn configures its parser
        self.parser.feed_data(head)

    def _update_buffers(self) -> None:
        """Account for the buffered data of this connection."""
        data = [each for each in (self._received, self._writer.unsent) if each]
        if not data:
            self.server_state.buffers.remove(self)
        elif not self.transport.is_closing():
            self.server_state.buffers.replace(self, data)

    def _start_keep_alive(self) -> None:
        """Start the timeout after which an idle connection is closed."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _has_more(self) -> bool:
        """Return whether another request was received."""
        return bool(self.pipeline) or self._received.find(_HEAD_END, self._position) >= 0

    def _can_parse(self) -> bool:
        """Return whether to parse more: no request waits for its response, and no response waits for the client."""
        cycle = self.cycle
        return not (self.flow.write_paused or self._rejection or self.transport.is_closing()) and (
            cycle is None or cycle.response_complete or (cycle.more_body and not self.pipeline)
        )

    def _parse(self) -> None:
        """Parse what was received, up to the end of one request."""
        received, length = self._received, len(self._received)
        end = self._position + _MAX_PARSED_BYTES
        while self._position < length and self._position < end and self._can_parse():
            self._unset_keepalive_if_required()
            begin = self._position
            head_end = received.find(_HEAD_END, begin, end)
            self._position = min(end, length) if head_end < 0 else head_end + len(_HEAD_END)
            self._feed(received[begin : self._position])
        if self._position < length:
            self.flow.stop_reading()
            self._update_buffers()
            if self._can_parse():
                self.loop.call_soon(self._parse)  # so that other connections are served in between
            return
        self._received, self._position = b"", 0
        if self.flow.is_stopped:
            self.flow.continue_reading()
            self._update_buffers()
        if self._is_at_eof and self._can_parse():
            self.transport.close()
