"""Strict routing."""

import re
from http import HTTPStatus

from connexion.middleware.abstract import ROUTING_CONTEXT
from connexion.middleware.routing import RoutingMiddleware
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from app.context import RequestContext
from app.contract.document import Contract

_MAX_RESULTS = 1000  # of routing that are cached; about a kilobyte each
_MAX_PATH_LENGTH = 128  # characters of a path whose result is cached; enough for the usual ids of projects and images


class StrictRoutingMiddleware(RoutingMiddleware):
    """Connexion's routing without redirects: a path with an additional or a missing slash is another path.

    Starlette would redirect to a URL with the host from the request, which the client can set to anything.

    Requests for which Connexion finds no operation are rejected (404). Connexion would pass them on, without
    authentication and validation. Methods that the contract does not define for the path are rejected too (405).
    Connexion falls back to a less exact path that supports the method: DELETE of `images/detail` would delete the image
    `detail`.

    The results for recent paths are cached, which saves 15 µs for each uncached response.
    They depend on the method and the path only, and must not be modified.
    """

    def __init__(self, next_app: ASGIApp, contract: Contract) -> None:
        super().__init__(self._pass_on)
        self._next_app = next_app
        self._contract = contract
        self._results = dict[tuple[str, str], tuple[dict[str, str], dict[str, str]]]()
        self.router.redirect_slashes = False

    def add_api(self, *args: object, **kwargs: object) -> None:
        """Add an API as Connexion does, and make its routes strict."""
        super().add_api(*args, **kwargs)
        for route in self.router.routes:
            if isinstance(route, Mount) and isinstance(route.app, Router):
                route.app.redirect_slashes = False
                # Without DOTALL, and with `$`, paths that contain or end with a newline would match other routes.
                route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)
                for each in (inner for inner in route.app.routes if isinstance(inner, Route)):
                    each.path_regex = re.compile(each.path_regex.pattern.replace("$", r"\Z"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its operation and path parameters: cached ones, or those of Connexion's routing."""
        if scope["type"] == "http":
            result = self._results.get((scope["method"], scope["path"]))
            if result is None:
                await super().__call__(scope, receive, send)
                return
            scope.setdefault("extensions", {})[ROUTING_CONTEXT], scope["path_params"] = result
            RequestContext.of(scope).operation = result[0]["operation_id"]
        await self._next_app(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if the contract has an operation for it, and cache the result of the routing."""
        routing = scope["extensions"][ROUTING_CONTEXT]
        if not routing["operation_id"]:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        # Every path of the contract supports GET.
        if scope["method"] != "GET" and scope["method"] not in self._contract.methods(scope["path"]):
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
        if len(scope["path"]) <= _MAX_PATH_LENGTH:
            if len(self._results) >= _MAX_RESULTS:
                del self._results[next(iter(self._results))]
            self._results[scope["method"], scope["path"]] = routing, scope["path_params"]
        RequestContext.of(scope).operation = routing["operation_id"]
        await self._next_app(scope, receive, send)
