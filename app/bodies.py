"""The bodies of requests: where they mean something, how long they may be, and that they are JSON."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.faults import BadBody, BadMediaType, BodyTooLarge

MOST = 1_000_000  # bytes: more than the largest metadata take, every character of them escaped

BODY_IN = 20  # seconds

_WITH_BODY = frozenset({"POST", "PUT"})
_ABOUT_BODIES = frozenset({b"content-type", b"content-length", b"transfer-encoding", b"upgrade"})
_JSON = b"application/json"
_ALLOWED = {"Content-Type": "application/json", "Content-Encoding": "identity"}


class Bodies:
    """Takes what a body is in the way of the rest.

    From a request whose body means nothing it takes whatever speaks of one, or of another protocol: else Connexion
    would fail on a malformed Content-Type, Flask would refuse an Upgrade, and both would wait for a body that was
    announced and never comes. Any other body is bounded, and JSON.
    """

    def __init__(self, next_app: ASGIApp) -> None:
        self._next_app = next_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._next_app(scope, receive, send)
        elif scope["method"] in _WITH_BODY:
            await self._next_app(_as_json(scope), _checked(scope, receive), send)
        else:
            headers = [header for header in scope["headers"] if header[0] not in _ABOUT_BODIES]
            await self._next_app({**scope, "headers": headers}, replay(b"", receive), send)


async def read(receive: Receive) -> bytes:
    """Read a body to its end. Raises BadBody where that does not come, or not in time."""
    parts = []
    more = True
    try:
        async with asyncio.timeout(BODY_IN):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadBody("it ended before its end")
                parts.append(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        raise BadBody(f"it did not come within {BODY_IN} seconds") from None
    return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read, and then nothing until the client goes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        if waiting:
            return waiting.pop()
        while (message := await receive())["type"] != "http.disconnect":
            pass
        return message

    return receive_again


def _as_json(scope: Scope) -> Scope:
    """Call the body JSON in one way: Connexion would let one pass unchecked that is Application/Json."""
    others = [header for header in scope["headers"] if header[0] not in {b"content-type", b"upgrade"}]
    return {**scope, "headers": [*others, (b"content-type", _JSON)]}


def _checked(scope: Scope, receive: Receive) -> Receive:
    """Raise BadMediaType or BodyTooLarge from where a body is read, as soon as it is known."""
    headers = Headers(scope=scope)
    length = 0

    async def receive_checked() -> Message:
        nonlocal length
        _check_types(headers)
        if int(headers.get("content-length", "0")) > MOST:
            raise BodyTooLarge(MOST)
        message = await receive()
        length += len(message.get("body", b""))
        if length > MOST:
            raise BodyTooLarge(MOST)
        return message

    return receive_checked


def _check_types(headers: Headers) -> None:
    for name, allowed in _ALLOWED.items():
        value = ",".join(headers.getlist(name))
        if value and value.partition(";")[0].strip().lower() != allowed:
            raise BadMediaType(name, value, allowed)
