"""Request body limits: size and media type."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.asgi import replay_body
from app.errors import RequestBodyTooLarge, UnsupportedMediaType

MAX_BODY_BYTES = 1_000_000  # more than the largest valid metadata, even if every character is escaped

_METHODS_WITH_BODY = frozenset({"POST", "PUT"})
_BODY_HEADERS = frozenset({b"content-type", b"content-length", b"transfer-encoding", b"upgrade"})
_JSON = "application/json"
_JSON_TYPES = frozenset({_JSON, "application/vnd.openstack.compute+json"})  # as Nova


class RequestBodyMiddleware:
    """Limits request bodies, and strips body headers where a body has no meaning.

    If these headers were passed on, Connexion would fail on a malformed Content-Type, Flask would reject an Upgrade,
    and both would wait for a body that was announced and does not arrive.
    """

    def __init__(self, next_app: ASGIApp) -> None:
        self._next_app = next_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Reading its body raises UnsupportedMediaType and RequestBodyTooLarge."""
        if scope["type"] != "http":
            await self._next_app(scope, receive, send)
        elif scope["method"] in _METHODS_WITH_BODY:
            await self._next_app(_as_json(scope), _limit(scope, receive), send)
        else:
            headers = [header for header in scope["headers"] if header[0] not in _BODY_HEADERS]
            await self._next_app({**scope, "headers": headers}, replay_body(b"", receive), send)


def _as_json(scope: Scope) -> Scope:
    """Set the only spelling of the media type for which Connexion validates the body."""
    others = [header for header in scope["headers"] if header[0] not in {b"content-type", b"upgrade"}]
    return {**scope, "headers": [*others, (b"content-type", _JSON.encode())]}


def _limit(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that raises UnsupportedMediaType and RequestBodyTooLarge as early as possible."""
    headers = Headers(scope=scope)
    length = 0

    async def receive_limited() -> Message:
        nonlocal length
        _check_types(headers)
        if int(headers.get("content-length", "0")) > MAX_BODY_BYTES:
            raise RequestBodyTooLarge(MAX_BODY_BYTES)
        message = await receive()
        length += len(message.get("body", b""))
        if length > MAX_BODY_BYTES:
            raise RequestBodyTooLarge(MAX_BODY_BYTES)
        return message

    return receive_limited


def _check_types(headers: Headers) -> None:
    """Check the types. A body without Content-Type may come from a web page, which needs no permission to send it."""
    media_type, encoding = (",".join(headers.getlist(name)) for name in ("Content-Type", "Content-Encoding"))
    has_body = "transfer-encoding" in headers or int(headers.get("content-length", "0")) > 0
    if (media_type or has_body) and media_type.partition(";")[0].strip().lower() not in _JSON_TYPES:
        raise UnsupportedMediaType("Content-Type", media_type, _JSON)
    if encoding and encoding.strip().lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding", encoding, "identity")
