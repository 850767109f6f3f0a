"""The access log: one line on standard output for each request."""

import sys
import time
from collections.abc import Awaitable
from functools import partial
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.background_writer import BackgroundWriter, write_unbuffered
from app.context import RequestContext
from app.contract.document import Contract
from app.logs import FORMATS, format_dropped, format_time

_GATHERING_TIME = 0.05  # seconds; each write costs as much as a response


class AccessLogMiddleware:
    """Logs each request with its response's status and size, and its duration, once the response is sent.

    It shares the formats of the service log, but not the machinery of `logging`, which takes twice as long as a cached
    response.
    """

    def __init__(self, next_app: ASGIApp, contract: Contract, log_format: str) -> None:
        self._next_app = next_app
        self._contract = contract
        self._format = FORMATS[log_format]
        self._writer = BackgroundWriter(
            partial(write_unbuffered, sys.stdout),
            partial(format_dropped, log_format, "app.access", "standard output"),
            gathering_time=_GATHERING_TIME,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log it."""
        if scope["type"] != "http":
            await self._write_while(self._next_app(scope, receive, send))
            return
        begin = time.perf_counter()
        status, size = 500, 0  # the server responds with 500 if the application sends nothing

        async def send_counted(message: Message) -> None:
            nonlocal status, size
            status = message.get("status", status)
            size += 0 if scope["method"] == "HEAD" else len(message.get("body", b""))
            await send(message)

        try:
            await self._next_app(scope, receive, send_counted)
        finally:
            self._writer.put(self._line(scope, status, size, time.perf_counter() - begin))

    async def _write_while(self, lifespan: Awaitable[None]) -> None:
        self._writer.start()
        try:
            await lifespan
        finally:
            self._writer.close()

    def _line(self, scope: Scope, status: int, size: int, seconds: float) -> str:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        path = (scope["raw_path"] + query).decode("latin-1")
        milliseconds = round(seconds * 1000, 3)
        project_id = self._contract.project_of_path(scope["path"])
        project = quote(project_id, safe="") if project_id else "-"  # without blanks, which separate the fields
        return self._format(
            {
                "time": format_time(int(time.time())),
                "level": "INFO",
                "logger": "app.access",
                "request_id": RequestContext.of(scope).request_id,
                "message": f"{scope['method']} {path} {status} {size} {milliseconds} {project}",
                "exception": None,
                "method": scope["method"],
                "path": path,
                "status": status,
                "bytes": size,
                "milliseconds": milliseconds,
                "project_id": project_id,
            }
        )
