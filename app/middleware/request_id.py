"""Request ids, and the other header that every response has."""

from collections.abc import Iterator
from itertools import count
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.context import BEGIN, Caller, RequestContext, current_request

REQUEST_ID_HEADERS = ("x-compute-request-id", "x-openstack-request-id")  # Nova's own, and that of all services
_LAST_PARTS = 16**12  # the number of values that the last part of a UUID can have
_COMPUTE, _OPENSTACK = (name.encode() for name in REQUEST_ID_HEADERS)
NO_SNIFFING = (b"x-content-type-options", b"nosniff")  # browsers must not guess media types


def request_ids() -> Iterator[str]:
    """Yield request ids, to a single thread, in the form that OpenStack's services use, which is that of a random UUID.

    The ids need not be unpredictable: incrementing the last part of one random UUID costs a fraction of a uuid4.
    """
    prefix, _, last = str(uuid4()).rpartition("-")
    for number in count(int(last, 16)):
        yield f"req-{prefix}-{number % _LAST_PARTS:012x}"


def common_headers(request_id: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that every response has."""
    encoded = request_id.encode()
    return (_COMPUTE, encoded), (_OPENSTACK, encoded), NO_SNIFFING


class RequestIdMiddleware:
    """Creates the context of every request, with an id that the response and all log lines of the request show."""

    def __init__(self, next_app: ASGIApp, default_caller: Caller | None) -> None:
        """Set the caller of requests that are not authenticated."""
        self._next_app = next_app
        self._default_caller = default_caller
        self._ids = request_ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add its id to the response."""
        if scope["type"] != "http":
            await self._next_app(scope, receive, send)
            return
        request_id = next(self._ids)
        context = RequestContext(request_id, "", self._default_caller, headers=scope["headers"])
        scope.setdefault("state", {})["context"] = context
        context.begin = scope["state"].get(BEGIN, context.begin)
        current_request.set(context)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *common_headers(request_id)]
            await send(message)

        await self._next_app(scope, receive, send_with_id)
