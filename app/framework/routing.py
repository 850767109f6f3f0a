"""Strict routing."""

import re

from connexion.middleware.abstract import ROUTING_CONTEXT
from connexion.middleware.routing import RoutingMiddleware
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from app.contract.document import Contract


class StrictRoutingMiddleware(RoutingMiddleware):
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


class RouteGuardMiddleware:
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
