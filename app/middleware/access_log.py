"""The access log: one line for each request, on standard output or in a file."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.background_writer import BackgroundWriter, write_unbuffered
from app.context import RequestContext, find_global_request_id
from app.contract.document import Contract
from app.log_file import LogFile
from app.logs import format_dropped, format_time, plain_line
from app.settings import Settings
from app.text import escape_control_characters

ACCESS_LOG = "access-log"  # the key of the AccessLog in the state of the application and of each request
_GATHERING_TIME = 0.05  # seconds; each write costs as much as a response
_MAX_REQUESTS, _MAX_WAIT = 50, 0.02  # requests whose lines are formatted together; seconds that they wait
_LOGGER = "app.access"
_MAX_TARGETS, _MAX_TARGET_BYTES = 1000, 256  # limits of the cache of `_describe_target`


class AccessLog:
    """Writes a line for each request.

    It shares the formats of the service log, but not the machinery of `logging`, which takes twice as long as a cached
    response. It formats lines in batches, while the processor's caches hold its code: 2 instead of 5 µs for each line.
    """

    def __init__(self, contract: Contract, settings: Settings) -> None:
        self._contract = contract
        self._requests: list[tuple[Any, ...]] = []  # arguments of `log` that are not formatted yet
        self._is_plain = settings.log_format == "plain"
        self._escape = escape_control_characters if self._is_plain else str
        self._describe = lru_cache(_MAX_TARGETS)(self._describe_target)
        self._file = LogFile(settings.access_log_file) if settings.access_log_file else None
        self._writer = BackgroundWriter(
            self._file.write if self._file else partial(write_unbuffered, sys.stdout),
            partial(format_dropped, settings.log_format, _LOGGER, settings.access_log_file or "standard output"),
            gathering_time=_GATHERING_TIME,
        )

    async def write_while(self, lifespan: Awaitable[None]) -> None:
        """Write lines until the application's lifespan ends, and then those that are left."""
        if self._file:
            self._file.open()
        self._writer.start()
        try:
            await lifespan
        finally:
            self._format_requests()
            if self._writer.close() and self._file:
                self._file.close()

    def log(self, scope: Mapping[str, Any], request_id: str, status: int, size: int, seconds: float) -> None:
        """Log a request with its response's status and size, and its duration."""
        self._requests.append((scope, request_id, status, size, seconds))
        if len(self._requests) == 1:
            asyncio.get_running_loop().call_later(_MAX_WAIT, self._format_requests)
        elif len(self._requests) == _MAX_REQUESTS:
            self._format_requests()

    def _format_requests(self) -> None:
        requests, self._requests = self._requests, []
        if requests:
            second = format_time(int(time.time()))
            self._writer.put("\n".join([self._line(second, each) for each in requests]), len(requests))

    def _line(self, second: str, request: tuple[Any, ...]) -> str:
        scope, request_id, status, size, seconds = request
        raw_path, query = scope["raw_path"], scope["query_string"]
        describe = self._describe if len(raw_path) + len(query) <= _MAX_TARGET_BYTES else self._describe_target
        path, project_id, project = describe(raw_path, query, scope["path"])
        method, milliseconds = scope["method"], round(seconds * 1_000_000) / 1000
        client = scope["client"][0] if scope["client"] else None  # None for a Unix domain socket
        forwarded_for = scope["state"].get("forwarded_for")
        addresses = f"{client or '-'} {self._escape(forwarded_for) if forwarded_for else '-'}"
        message = f"{method} {path} {status} {size} {milliseconds} {project} {addresses}"
        global_request_id = find_global_request_id(scope["headers"])
        if self._is_plain:
            return plain_line(second, f"INFO {_LOGGER}", request_id, global_request_id, message)
        entry = {
            "time": second,
            "level": "INFO",
            "logger": _LOGGER,
            "request_id": request_id,
            "global_request_id": global_request_id,
            "message": message,
            "exception": None,
            "method": method,
            "path": path,
            "status": status,
            "bytes": size,
            "milliseconds": milliseconds,
            "project_id": project_id,
            "client": client,
            "forwarded_for": forwarded_for,
        }
        return orjson.dumps(entry).decode()

    def _describe_target(self, raw_path: bytes, query: bytes, path: str) -> tuple[str, str | None, str]:
        """Return the path with its query, its project id, and the project id as a field of a line: without blanks."""
        target = (raw_path + b"?" + query if query else raw_path).decode("latin-1")
        project_id = self._contract.project_of_path(path)
        return self._escape(target), project_id, quote(project_id, safe="") if project_id else "-"


class AccessLogMiddleware:
    """Logs each request to which the application responds, once the response is sent."""

    def __init__(self, next_app: ASGIApp, contract: Contract, settings: Settings) -> None:
        self._next_app = next_app
        self._log = AccessLog(contract, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log it."""
        if scope["type"] != "http":
            scope["state"][ACCESS_LOG] = self._log  # for the server, which copies it into the state of each request
            await self._log.write_while(self._next_app(scope, receive, send))
            return
        status, size = 500, 0  # the server responds with 500 if the application sends nothing

        async def send_counted(message: Message) -> None:
            nonlocal status, size
            status = message.get("status", status)
            size += 0 if scope["method"] == "HEAD" else len(message.get("body", b""))
            await send(message)

        try:
            await self._next_app(scope, receive, send_counted)
        finally:
            context = RequestContext.of(scope)
            self._log.log(scope, context.request_id, status, size, time.perf_counter() - context.begin)
