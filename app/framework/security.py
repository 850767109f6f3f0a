"""Connexion's security handler: authentication of the operations whose contract requires a token."""

from collections.abc import Awaitable, Callable
from typing import Any

from connexion.lifecycle import ConnexionRequest

from app.auth.base import Authenticator
from app.context import RequestContext

SecurityCheck = Callable[[ConnexionRequest], Awaitable[dict[str, Any]]]


class TokenSecurityHandler:
    """Authenticates requests, and requires that the token is valid for the project in the path."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def get_fn(self, _scheme: dict[str, Any], _scopes: list[str]) -> SecurityCheck:
        """Return the check of an operation. It raises what `authenticate` raises, and ProjectMismatch."""
        return self._check

    async def _check(self, request: ConnexionRequest) -> dict[str, Any]:
        scope = request.scope
        context = RequestContext.of(scope)
        token = self._authenticator.token_of(scope)
        caller = await self._authenticator.authenticate(token.encode("latin-1"))
        caller.require_project(scope["path_params"]["tenant_id"])
        context.token, context.authenticated = token, caller
        return {}
