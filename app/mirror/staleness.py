"""How old a copy is: what the mirror says of its passes, in a file beside the catalog."""

import time

from app.catalog.models import Version
from app.catalog.sqlite.reader import CatalogReader
from app.errors import CatalogUnavailable
from app.mirror.status import read_sync_status

_NEVER = float("inf")


class StalenessMonitor:
    """Tells whether answers can be given from a catalog as they are, or have to say how old the copy is."""

    def __init__(self, catalog: CatalogReader, stale_after: int) -> None:
        """Take the seconds after which a copy is stale; with 0, none ever is."""
        self._catalog = catalog
        self._stale_after = stale_after or _NEVER
        self._version: Version | None = None
        self._until = 0.0

    def holds(self, version: Version | None) -> bool:
        """Tell whether the catalog, in this version of it, can be read, and is fresh or no copy."""
        if version != self._version or time.time() >= self._until:
            self._version = version
            try:
                self._until = self.since() + self._stale_after
            except CatalogUnavailable:
                self._until = 0.0
        return time.time() < self._until

    def since(self) -> float:
        """Give when the last good pass began that is known of, in seconds since 1970. Raises CatalogUnavailable.

        The mirror knows best; but what it wrote last may be lost.
        """
        upstream = self._catalog.upstream()
        if upstream is None:
            return _NEVER
        good = read_sync_status(self._catalog.path).good
        return upstream.good if good is None else good
