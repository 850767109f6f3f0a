"""The access log: a line on standard output for each request."""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.contract.document import Contract
from app.text import escape_control_characters
from app.timestamps import now

Entry = Mapping[str, str | int | float | None]


def _plain(entry: Entry) -> str:
    return " ".join("-" if value is None else escape_control_characters(str(value)) for value in entry.values())


def _json(entry: Entry) -> str:
    return orjson.dumps(entry).decode()


FORMATS: Mapping[str, Callable[[Entry], str]] = {"plain": _plain, "json": _json}


class AccessLogMiddleware:
    """Writes what was asked, what came of it, and how long it took, when the answer is out."""

    def __init__(self, next_app: ASGIApp, contract: Contract, form: str) -> None:
        """Take one of the formats."""
        self._next_app = next_app
        self._contract = contract
        self._format = FORMATS[form]
        self._lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and write its line."""
        if scope["type"] != "http":
            await self._next_app(scope, receive, send)
            return
        begin = time.perf_counter()
        status, size = 500, 0  # where nothing is sent, the server says that

        async def send_counted(message: Message) -> None:
            nonlocal status, size
            status = message.get("status", status)
            size += 0 if scope["method"] == "HEAD" else len(message.get("body", b""))
            await send(message)

        try:
            await self._next_app(scope, receive, send_counted)
        finally:
            self._write(self._format(self._entry(scope, status, size, time.perf_counter() - begin)))

    def _write(self, line: str) -> None:
        """Have a line written, with those of the same round of the event loop: a write takes as long as an answer."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(line)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        with suppress(OSError):  # whoever read them is gone: that is no reason not to answer
            sys.stdout.writelines(f"{line}\n" for line in lines)
            sys.stdout.flush()

    def _entry(self, scope: Scope, status: int, size: int, seconds: float) -> Entry:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        return {
            "time": now(),
            "method": scope["method"],
            "path": (scope["raw_path"] + query).decode("latin-1"),
            "status": status,
            "bytes": size,
            "milliseconds": round(seconds * 1000, 3),
            "tenant": self._contract.tenant(scope["path"]),
            "request_id": scope["state"]["request_id"],
        }
