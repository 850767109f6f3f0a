"""Whether a replica is stale, by the time of its last successful sync."""

from app.catalog.engine import Engine
from app.catalog.errors import CatalogUnavailable
from app.catalog.models import Version
from app.timestamps import SYSTEM_CLOCK, Clock

_NEVER = float("inf")


class StalenessMonitor:
    """Decides whether responses can be served from the catalog as they are, or must state the age of the replica."""

    def __init__(self, engine: Engine, stale_after: int, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Set the seconds after which a replica is stale; with 0, it never is."""
        self._engine = engine
        self._stale_after = stale_after or _NEVER
        self._clock = clock
        self._version: Version | None = None
        self._fresh_until = 0.0

    def is_fresh(self, version: Version | None) -> bool:
        """Return whether the catalog, at this version, is readable and either not a replica or a fresh one."""
        now = self._clock.time()
        if version != self._version or now >= self._fresh_until:
            self._version = version
            try:
                self._fresh_until = self._last_synced_at() + self._stale_after
            except CatalogUnavailable:
                self._fresh_until = 0.0
        return now < self._fresh_until

    def stale_since(self) -> float | None:
        """Return the start of the last successful sync (Unix time) if the catalog is a stale replica, None otherwise.

        Raises CatalogUnavailable.
        """
        synced_at = self._last_synced_at()
        return None if self._clock.time() < synced_at + self._stale_after else synced_at

    def _last_synced_at(self) -> float:
        """Return the start of the last successful sync (Unix time), infinity without an upstream.

        Raises CatalogUnavailable.
        """
        with self._engine.snapshot() as snapshot:
            upstream = snapshot.upstream()
        return _NEVER if upstream is None else self._engine.read_sync_status().last_success(upstream)
