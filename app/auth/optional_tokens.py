"""Authentication of a test double: by the catalog's own tokens, while it has any."""

from app.auth.catalog_tokens import CatalogTokenAuthenticator
from app.catalog.engine import current_version
from app.catalog.errors import CatalogUnavailable
from app.catalog.models import Version
from app.context import UNAUTHENTICATED_ADMIN, Caller


class OptionalTokenAuthenticator(CatalogTokenAuthenticator):
    """Authenticates by token while the catalog has a token. Otherwise, tokens are ignored."""

    _has_tokens = False
    _checked: Version | None = None

    def cached_caller(self, token: bytes, version: Version | None) -> Caller | None:
        """Return the caller of all requests while the catalog has no token, and that of the token otherwise."""
        try:
            return super().cached_caller(token, version) if self._requires_token(version) else UNAUTHENTICATED_ADMIN
        except CatalogUnavailable:  # `authenticate` will report it
            return None

    async def authenticate(self, token: bytes) -> Caller:
        """Return the caller of a token. Raises Unauthorized while the catalog has a token, and CatalogUnavailable."""
        if self._requires_token(await current_version(self._engine)):
            return await super().authenticate(token)
        return UNAUTHENTICATED_ADMIN

    def _requires_token(self, version: Version | None) -> bool:
        if version is None or version != self._checked:
            with self._engine.snapshot() as snapshot:
                self._has_tokens = bool(snapshot.tokens())
            self._checked = version
        return self._has_tokens
