"""The catalog's own tokens."""

import time

from app.auth.base import Caller, TokenAuthenticator, TokenInfo
from app.catalog.models import Version
from app.catalog.sqlite.reader import CatalogReader
from app.catalog.tokens import find_token
from app.timestamps import seconds


class CatalogTokenAuthenticator(TokenAuthenticator):
    """Tokens of the catalog's own: a verdict holds until the catalog changes, as it does when a token is revoked."""

    def __init__(self, catalog: CatalogReader, header: str) -> None:
        super().__init__(header, f'{header} realm="compute-images"')
        self._catalog = catalog
        self._version: Version | None = None

    def _holds(self, version: Version | None) -> bool:
        return version == self._version

    async def _identify(self, token: bytes) -> Caller:
        """Look a token up in the catalog. Raises CatalogUnavailable too."""
        version = self._catalog.version()  # before the token: what changes after it is found by the next request
        if version != self._version:
            self._verdicts.clear()
            self._version = version
        return self.known(token, version) or self._remember(token, self._look_up(token))

    def _look_up(self, text: bytes) -> TokenInfo:
        with self._catalog.snapshot() as connection:
            token = find_token(connection, text.decode("latin-1"))
        until = seconds(token.expires) if token and token.expires else float("inf")
        if token is None or until <= time.time():
            raise self.refused()
        return TokenInfo(Caller(token.tenant, token.is_admin), until)
