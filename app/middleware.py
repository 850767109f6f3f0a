"""What stands around Connexion: request ids, faults, and guards where it is lenient."""

import logging
import re
from http import HTTPStatus
from itertools import count
from uuid import uuid4

from connexion.lifecycle import ConnexionRequest, ConnexionResponse
from connexion.middleware.abstract import ROUTING_CONTEXT
from connexion.middleware.routing import RoutingMiddleware
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.contract import Contract
from app.faults import DomainError, fault_of, quote

REQUEST_ID_HEADERS = ("x-compute-request-id", "x-openstack-request-id")  # Nova's own, and the one of all services
_COMPUTE, _OPENSTACK = (name.encode() for name in REQUEST_ID_HEADERS)

_NOT_ALLOWED = HTTPStatus.METHOD_NOT_ALLOWED

_log = logging.getLogger(__name__)


class RequestIds:
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


class RequestId:
    """Gives every request an id, which every answer shows and which the log knows it by."""

    def __init__(self, next_app: ASGIApp) -> None:
        self._next_app = next_app
        self._new_id = RequestIds()

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


class StrictRouting(RoutingMiddleware):
    """Connexion's routing without redirects: a path with a slash too many or too few is another path.

    Starlette would redirect to a URL that it builds from the request's Host.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self.router.redirect_slashes = False

    def add_api(self, *args: object, **kwargs: object) -> None:
        """Add an API as Connexion does."""
        super().add_api(*args, **kwargs)
        for route in self.router.routes:
            if isinstance(route, Mount) and isinstance(route.app, Router):
                route.app.redirect_slashes = False
                route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)  # or a newline would end the path
                for each in (inner for inner in route.app.routes if isinstance(inner, Route)):
                    each.path_regex = re.compile(each.path_regex.pattern.replace("$", r"\Z"))  # or might follow it


class RoutedOnly:
    """Answers 404 to what Connexion did not route, before Flask can; and 405 to what it routed past the contract.

    Flask's routing strips leading slashes, so it would find a handler for `//v2/…`, which Connexion's has not: it
    would run unchecked, and with what is left of the request before (spec-first/connexion, pallets/flask #5489).
    Connexion's own goes on to less exact paths for the method's sake: to delete the image `detail`.
    """

    def __init__(self, next_app: ASGIApp, contract: Contract) -> None:
        self._next_app = next_app
        self._contract = contract

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what an operation was found for."""
        if scope["type"] == "http":
            if not scope["extensions"][ROUTING_CONTEXT].get("operation_id"):
                raise HTTPException(404)
            # Every path of the contract takes GET: a read need not be looked up once more.
            if scope["method"] != "GET" and scope["method"] not in self._contract.methods(scope["path"]):
                raise HTTPException(405)
        await self._next_app(scope, receive, send)


class Faults:
    """Answers whatever ended a request with a Compute fault, and logs those that are the service's own."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    async def answer(self, request: ConnexionRequest, error: Exception) -> ConnexionResponse:
        """Make the answer. It is a coroutine so that Connexion calls it without a thread."""
        path = request.scope["path"]
        # Starlette knows only the methods of the first operation that it finds at a path.
        allowed = self._contract.methods(path) if getattr(error, "status_code", None) == _NOT_ALLOWED else []
        fault = fault_of(error, method=request.method, path=path, allowed=allowed)
        if fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            request_id = request.scope["state"]["request_id"]
            _log.error(
                "%s %s %s: %s",
                request_id,
                request.method,
                quote(path),
                str(error) or type(error).__name__,
                exc_info=None if isinstance(error, DomainError) else error,
            )
        body = self._contract.fault(fault.status, fault.message)
        return ConnexionResponse(fault.status, body=body, mimetype="application/json", headers=fault.headers)
