"""Authentication by the catalog's own tokens."""

from functools import partial

from app.auth.base import TokenAuthenticator, TokenInfo
from app.catalog.engine import current_version
from app.catalog.executor import ReadExecutor
from app.catalog.models import Version
from app.catalog.tokens import find_token
from app.context import Caller
from app.timestamps import SYSTEM_CLOCK, Clock, seconds


class CatalogTokenAuthenticator(TokenAuthenticator):
    """Looks tokens up in the catalog. Any change of the catalog, such as a revoked token, invalidates the cache."""

    def __init__(self, reads: ReadExecutor, header: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(header, f'{header} realm="compute-images"', clock=clock)
        self._reads = reads
        self._version: Version | None = None

    def _is_current(self, version: Version | None) -> bool:
        return version == self._version

    async def _current_version(self) -> Version | None:
        """Return the version of the catalog, and drop cached validations of another version."""
        # Before the lookup, so that a later change invalidates its result.
        version = await current_version(self._reads.engine)
        if version != self._version:
            self._cached.clear()
            self._version = version
        return version

    async def _validate(self, token: bytes) -> Caller:
        """Return the caller of a token. Raises CatalogUnavailable too."""
        with self._observed():
            version = self._version
            info = await self._reads.run(partial(self._look_up, token))
            # Another request may have noticed a change meanwhile, such as the removal of this token.
            return self._cache(token, info) if version == self._version else info.caller

    def _look_up(self, token: bytes) -> TokenInfo:
        found = find_token(self._reads.engine, token.decode("latin-1"))
        if found is None or found.is_expired(self._clock.now()):
            raise self.unauthorized()
        expires_at = seconds(found.expires) if found.expires else float("inf")
        return TokenInfo(Caller(found.project_id, found.is_admin), expires_at)
