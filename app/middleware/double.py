"""Recording of requests, and failures, in a test double."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.asgi import CLOSE_AT_EOF, CLOSE_CONNECTION, set_headers
from app.contract.document import Contract
from app.double.failures import PREFER, PlannedFailure
from app.double.requests import RecordedRequest
from app.double.state import Double
from app.errors import InvalidParameter
from app.framework.faults import Fault, fault_for

_MESSAGE = "This fault was requested from the test double."
_RETRY_LATER = frozenset(
    {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
)


class DoubleMiddleware:
    """Records each request, and lets those fail for which a failure is planned, or that request one."""

    def __init__(self, next_app: ASGIApp, double: Double, contract: Contract) -> None:
        self._next_app = next_app
        self._double = double
        self._contract = contract

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or let it fail. Those that control the test double are only passed on."""
        operation = self._contract.operation_id(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if scope["type"] != "http" or operation in self._contract.control_ids:
            await self._next_app(scope, receive, send)
            return
        request = RecordedRequest.of(scope, operation)
        self._double.requests.append(request)
        scope = self._limited(scope, operation)
        receive, send = request.record_body(receive), request.record_status(send)
        try:
            prefer = ",".join(Headers(scope=scope).getlist(PREFER))
            failure = self._double.failures.requested(prefer) or self._double.failures.take(operation)
        except InvalidParameter as error:
            fault = fault_for(error, method=scope["method"], path=scope["path"])
            await self._response(fault)(scope, receive, send)
            return
        if failure is None:
            await self._next_app(scope, receive, send)
        else:
            await self._fail(failure, scope, receive, send)

    async def _fail(self, failure: PlannedFailure, scope: Scope, receive: Receive, send: Send) -> None:
        receive_rest: Receive | None = receive
        if failure.delay:
            if CLOSE_AT_EOF in scope["extensions"]:  # Starlette's test client has no connections
                scope["extensions"][CLOSE_AT_EOF]()
            receive_rest = await self._double.delays.wait(failure.delay, receive)
        if receive_rest is None:
            await _close_connection(scope, receive)
            return
        if failure.applied:
            send = set_headers({"Preference-Applied": failure.applied}, send)
        if failure.drop or failure.status:
            await _read_all(receive_rest)
        if failure.drop:
            await _close_connection(scope, receive)
        elif failure.status:
            fault = Fault(failure.status, _MESSAGE, self._headers(failure, scope["path"]))
            await self._response(fault)(scope, receive, send)
        else:
            await self._next_app(scope, receive_rest, send)

    def _limited(self, scope: Scope, operation: str | None) -> Scope:
        """Return the scope with the page size as `limit`, if the request is for a list and has no `limit`."""
        size, query = self._double.page_size, scope["query_string"].decode("latin-1")
        if not size or not operation or "limit" not in self._contract.operations[operation].query:
            return scope
        if "limit" in dict(parse_qsl(query, keep_blank_values=True)):
            return scope
        return {**scope, "query_string": f"{query}&limit={size}".removeprefix("&").encode("latin-1")}

    def _headers(self, failure: PlannedFailure, path: str) -> Mapping[str, str]:
        """Return the headers that a response of the service has with this status."""
        if failure.status == HTTPStatus.UNAUTHORIZED:
            return self._double.authenticator.unauthorized().headers
        if failure.status == HTTPStatus.METHOD_NOT_ALLOWED:
            return {"Allow": ", ".join(self._contract.methods(path))}
        return {"Retry-After": str(failure.retry_after)} if failure.status in _RETRY_LATER else {}

    def _response(self, fault: Fault) -> Response:
        body = self._contract.fault(fault.status, fault.message)
        return Response(body, fault.status, fault.headers, media_type="application/json")


async def _read_all(receive: Receive) -> None:
    """Read the body, so that it is recorded."""
    while (await receive()).get("more_body"):
        pass


async def _close_connection(scope: Scope, receive: Receive) -> None:
    """Close the connection, and wait until the server has detected that: otherwise, it would send its own response."""
    scope["extensions"][CLOSE_CONNECTION]()
    while (await receive())["type"] != "http.disconnect":
        pass
