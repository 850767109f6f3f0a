"""The access log: one line for each request, on standard output or in a file."""

import sys
import time
from collections.abc import Awaitable
from functools import partial
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.background_writer import BackgroundWriter, write_unbuffered
from app.context import RequestContext
from app.contract.document import Contract
from app.log_file import LogFile
from app.logs import FORMATS, format_dropped, format_time
from app.settings import Settings

_GATHERING_TIME = 0.05  # seconds; each write costs as much as a response


class AccessLogMiddleware:
    """Logs each request with its response's status and size, and its duration, once the response is sent.

    It shares the formats of the service log, but not the machinery of `logging`, which takes twice as long as a cached
    response.
    """

    def __init__(self, next_app: ASGIApp, contract: Contract, settings: Settings) -> None:
        self._next_app = next_app
        self._contract = contract
        self._format = FORMATS[settings.log_format]
        self._file = LogFile(settings.access_log_file) if settings.access_log_file else None
        self._writer = BackgroundWriter(
            self._file.write if self._file else partial(write_unbuffered, sys.stdout),
            partial(format_dropped, settings.log_format, "app.access", settings.access_log_file or "standard output"),
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
        if self._file:
            self._file.open()
        self._writer.start()
        try:
            await lifespan
        finally:
            if self._writer.close() and self._file:
                self._file.close()

    def _line(self, scope: Scope, status: int, size: int, seconds: float) -> str:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        path = (scope["raw_path"] + query).decode("latin-1")
        milliseconds = round(seconds * 1000, 3)
        project_id = self._contract.project_of_path(scope["path"])
        project = quote(project_id, safe="") if project_id else "-"  # without blanks, which separate the fields
        context = RequestContext.of(scope)
        client = scope["client"][0] if scope["client"] else None  # None for a Unix domain socket
        forwarded_for = scope["state"].get("forwarded_for")
        addresses = f"{client or '-'} {forwarded_for or '-'}"
        return self._format(
            {
                "time": format_time(int(time.time())),
                "level": "INFO",
                "logger": "app.access",
                "request_id": context.request_id,
                "global_request_id": context.global_request_id,
                "message": f"{scope['method']} {path} {status} {size} {milliseconds} {project} {addresses}",
                "exception": None,
                "method": scope["method"],
                "path": path,
                "status": status,
                "bytes": size,
                "milliseconds": milliseconds,
                "project_id": project_id,
                "client": client,
                "forwarded_for": forwarded_for,
            }
        )
