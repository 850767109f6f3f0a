"""Authentication of a test double: by the catalog's own tokens, while it has any."""

from app.auth.catalog_tokens import CatalogTokenAuthenticator
from app.catalog.engine import current_version
from app.catalog.models import Version
from app.context import UNAUTHENTICATED_ADMIN, Caller


class OptionalTokenAuthenticator(CatalogTokenAuthenticator):
    """Authenticates by token while the catalog has a token. Otherwise, tokens are ignored."""

    _has_tokens = False
    _checked: Version | None = None

    def cached_caller(self, token: bytes, version: Version | None) -> Caller | None:
        """Return the caller of all requests while the catalog has no token, and that of the token otherwise."""
        if version is None or version != self._checked:  # `authenticate` will find out
            return None
        return super().cached_caller(token, version) if self._has_tokens else UNAUTHENTICATED_ADMIN

    async def authenticate(self, token: bytes) -> Caller:
        """Return the caller of a token. Raises Unauthorized while the catalog has a token, and CatalogUnavailable."""
        version = await current_version(self._reads.engine)
        if version != self._checked:
            self._has_tokens, self._checked = await self._reads.run(self._find_tokens), version
        return await super().authenticate(token) if self._has_tokens else UNAUTHENTICATED_ADMIN

    def _find_tokens(self) -> bool:
        with self._reads.engine.snapshot() as snapshot:
            return bool(snapshot.tokens())
