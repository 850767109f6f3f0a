"""Request ids."""

from itertools import count
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID_HEADERS = ("x-compute-request-id", "x-openstack-request-id")  # Nova's own, and the one of all services
_COMPUTE, _OPENSTACK = (name.encode() for name in REQUEST_ID_HEADERS)


class RequestIdGenerator:
    """Makes ids for requests, in the form that OpenStack's services give theirs: that of a random UUID.

    They need not be hard to guess: what is random is drawn once, and its last part counts on. A uuid4 for each would
    take longer than all else that a kept answer needs.
    """

    _LAST_PART = 0x1_0000_0000_0000

    def __init__(self) -> None:
        random = str(uuid4())
        self._begin, _, last = random.rpartition("-")
        self._numbers = count(int(last, 16))

    def __call__(self) -> str:
        """Make an id."""
        return f"req-{self._begin}-{next(self._numbers) % self._LAST_PART:012x}"


class RequestIdMiddleware:
    """Gives every request an id, which every answer shows and which the log knows it by."""

    def __init__(self, next_app: ASGIApp) -> None:
        self._next_app = next_app
        self._new_id = RequestIdGenerator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the answer back with its id."""
        if scope["type"] != "http":
            await self._next_app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = self._new_id()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                shown = request_id.encode()
                message["headers"] = [*message["headers"], (_COMPUTE, shown), (_OPENSTACK, shown)]
            await send(message)

        await self._next_app(scope, receive, send_with_id)
