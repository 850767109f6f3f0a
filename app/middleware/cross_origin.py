"""Requests that web pages of other origins send."""

from collections.abc import Callable, Collection
from functools import partial
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware as StarletteCORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.contract.document import Contract
from app.errors import CrossOriginRequest
from app.middleware.allowed_hosts import AllowedHostsMiddleware
from app.middleware.request_id import REQUEST_ID_HEADERS
from app.origins import origin_of
from app.settings import Settings

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})  # "none" is a request that the user started, not a page
_EXPOSED_HEADERS = (*REQUEST_ID_HEADERS, "ETag", "Last-Modified", "Retry-After", "WWW-Authenticate", "Allow")


def origin_checks(settings: Settings, token_header: bytes) -> list[Callable[[ASGIApp], ASGIApp]]:
    """Return the middleware that rejects requests by their host, and by the page that sends them."""
    own_origins = [origin_of(settings.compute_url)] if settings.compute_url else []
    trusted = [*own_origins, *(settings.cors_origins or ())]
    return [
        partial(AllowedHostsMiddleware, hosts=settings.allowed_hosts or ("*",)),
        partial(CrossOriginMiddleware, trusted=trusted, token_header=token_header),
    ]


class CrossOriginMiddleware:
    """Rejects changes without a token that a browser sends on behalf of a page of another origin.

    A browser sends some of them without a preflight, and without authentication, being able to reach the service is all
    that a change requires. The rules are those of CrossOriginProtection in Go's net/http: `Sec-Fetch-Site` decides, or
    the host of `Origin` if the browser does not send it. Other clients send neither. Another port of the same host
    ("same-site") is another origin: it may belong to another user or program. The scheme of `Origin` does not matter,
    because a proxy may have changed the scheme of the request.
    """

    def __init__(self, next_app: ASGIApp, trusted: Collection[str], token_header: bytes) -> None:
        """Set the origins whose pages may send changes; `*` stands for every origin."""
        self._next_app = next_app
        self._trusted = frozenset(trusted)
        self._token_header = token_header.decode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on unless it is rejected."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            headers = Headers(scope=scope)
            if self._token_header not in headers and "*" not in self._trusted:
                self._require_own(headers)
        await self._next_app(scope, receive, send)

    def _require_own(self, headers: Headers) -> None:
        origin, site, host = (",".join(headers.getlist(each)) for each in ("origin", "sec-fetch-site", "host"))
        if site:
            is_own = site in _OWN_SITES
        else:
            is_own = not origin or origin in {origin_of(f"http://{host}"), origin_of(f"https://{host}")}
        if not is_own and origin not in self._trusted:
            raise CrossOriginRequest(origin)


class CORSMiddleware(StarletteCORSMiddleware):
    """Lets pages of some origins read responses, and send the requests that the contract defines."""

    def __init__(self, next_app: ASGIApp, origins: Collection[str], contract: Contract) -> None:
        """Set the origins; `*` stands for every origin."""
        super().__init__(
            next_app,
            allow_origins=origins,
            allow_methods=contract.all_methods,
            allow_headers=["*"],  # headers give a page no rights that its origin lacks
            allow_private_network=True,
            expose_headers=_EXPOSED_HEADERS,
        )
        self._contract = contract

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the response to a preflight; it is a fault if the request is not allowed."""
        response = super().preflight_response(request_headers)
        if response.status_code == HTTPStatus.OK:
            return response
        body = self._contract.fault(response.status_code, f"{bytes(response.body).decode()}.")
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return Response(body, response.status_code, headers, media_type="application/json")
