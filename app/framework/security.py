"""How Connexion asks who is calling, where the contract says that a token is needed: its `security_map`."""

from collections.abc import Awaitable, Callable
from typing import Any

from connexion.lifecycle import ConnexionRequest

from app.auth.base import Authenticator

Check = Callable[[ConnexionRequest], Awaitable[dict[str, Any]]]


def security_map(identity: Authenticator) -> dict[str, Any]:
    """Build what Connexion takes for its `security_map`: it makes a handler for each scheme of this type."""
    return {"apiKey": lambda: TokenSecurityHandler(identity)}


class TokenSecurityHandler:
    """Lets those through whose token speaks for the tenant that the path names."""

    def __init__(self, identity: Authenticator) -> None:
        self._identity = identity

    def get_fn(self, _scheme: dict[str, Any], _scopes: list[str]) -> Check:
        """Make the check of an operation that needs a token. It raises Unauthorized and OtherTenant, among others."""

        async def check(request: ConnexionRequest) -> dict[str, Any]:
            scope = request.scope
            caller = await self._identity.identify(self._identity.token(scope).encode("latin-1"))
            caller.check(scope["path_params"]["tenant_id"])
            scope["state"]["caller"] = caller
            return {}

        return check
