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


class StrictRoutingMiddleware(RoutingMiddleware):
    """Connexion's routing without redirects: a path with an additional or a missing slash is another path.

    Starlette would redirect to a URL with the host from the request, which the client can set to anything.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
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


class RouteGuardMiddleware:
    """Rejects requests that Connexion did not route (404), or routed contrary to the contract (405).

    Connexion passes a request that it did not route on, without authentication and validation. Its routing falls back
    to a less exact path that supports the method: DELETE of `images/detail` would delete the image `detail`.
    """

    def __init__(self, next_app: ASGIApp, contract: Contract) -> None:
        self._next_app = next_app
        self._contract = contract

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if the contract has an operation for it."""
        if scope["type"] == "http":
            operation_id = scope["extensions"][ROUTING_CONTEXT].get("operation_id")
            if not operation_id:
                raise HTTPException(HTTPStatus.NOT_FOUND)
            # Every path of the contract supports GET, so reads skip the second lookup.
            if scope["method"] != "GET" and scope["method"] not in self._contract.methods(scope["path"]):
                raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
            RequestContext.of(scope).operation = operation_id
        await self._next_app(scope, receive, send)
