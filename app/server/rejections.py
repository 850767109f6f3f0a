"""Responses to requests that never reach the application."""

import logging
from collections.abc import Callable
from http import HTTPStatus

from app.context import RequestContext, current_request
from app.contract.document import Contract
from app.middleware.request_id import REQUEST_ID_HEADERS, request_ids
from app.server.request_head import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES
from app.server.timeouts import HEAD_TIMEOUT

_MESSAGES = {
    HTTPStatus.BAD_REQUEST: "The request is malformed: its method, URL, headers or body are not valid HTTP/1.1.",
    HTTPStatus.REQUEST_TIMEOUT: f"The request timed out: its headers were not received within {HEAD_TIMEOUT} seconds.",
    HTTPStatus.REQUEST_URI_TOO_LONG: f"The URL is longer than {MAX_URL_BYTES} bytes.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        f"The URL and headers are longer than {MAX_HEAD_BYTES} bytes, or there are more than {MAX_HEADERS} headers."
    ),
}

_log = logging.getLogger(__name__)


class Rejections:
    """Builds the responses of a worker to rejected requests: Compute faults that close the connection."""

    def __init__(self, contract: Contract, record: Callable[[int], None] | None = None) -> None:
        """Set what records the status of a request that does not reach the application, if anything does."""
        self._bodies = {status: contract.fault(status, message) for status, message in _MESSAGES.items()}
        self._ids = request_ids()
        self.record = record or (lambda _: None)

    def build(self, status: HTTPStatus) -> bytes:
        """Return a response with a new request id, and log it."""
        body, request_id = self._bodies[status], next(self._ids)
        reset = current_request.set(RequestContext(request_id))
        _log.info("Request rejected: %s", status.phrase)
        current_request.reset(reset)
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            *("content-type: application/json", "connection: close", "x-content-type-options: nosniff"),
            f"content-length: {len(body)}",
            *(f"{name}: {request_id}" for name in REQUEST_ID_HEADERS),
        ]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii") + body
