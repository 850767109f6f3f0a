"""Helpers for ASGI scopes and messages."""

import asyncio
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from app.errors import InvalidBody, InvalidHost
from app.origins import host_name

BODY_TIMEOUT = 20  # seconds
# The extensions by which a test double closes a connection without a response: now, or when the client has closed its
# side. Their values are functions that do so.
CLOSE_CONNECTION = "compute_images.close_connection"
CLOSE_AT_EOF = "compute_images.close_at_eof"


def request_host(scope: Scope) -> str:
    """Return the Host header. Repeated headers are joined by commas, which no valid host contains."""
    return b",".join(value for name, value in scope["headers"] if name == b"host").decode("latin-1")


def request_origin(scope: Scope) -> str:
    """Return scheme and host of the URL that a client requested. Raises InvalidHost."""
    host = request_host(scope)
    try:
        host_name(host)
    except ValueError:
        raise InvalidHost(host) from None
    return f"{scope['scheme']}://{host}"


def require_read(scope: Scope) -> None:
    """Raise HTTPException unless the method of a request is GET or HEAD."""
    if scope["method"] not in {"GET", "HEAD"}:
        raise HTTPException(405, headers={"Allow": "GET, HEAD, OPTIONS"})


def set_headers(headers: Mapping[str, str], send: Send) -> Send:
    """Return a `send` that sets headers of the response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers


async def read_body(receive: Receive) -> bytes:
    """Read the complete request body. Raises InvalidBody if it is incomplete, or takes longer than BODY_TIMEOUT."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await Request({"type": "http"}, receive).body()
    except ClientDisconnect:
        raise InvalidBody("it is incomplete") from None
    except TimeoutError:
        raise InvalidBody(f"it did not arrive within {BODY_TIMEOUT} seconds") from None


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields a body that was already read, and then only the client's disconnect."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        if pending:
            return pending.pop()
        while (message := await receive())["type"] != "http.disconnect":
            pass
        return message

    return receive_again
