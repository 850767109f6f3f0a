"""Whether a replica is stale, by the time of its last successful sync."""

from app.catalog.executor import ReadExecutor
from app.catalog.models import Version
from app.errors import DomainError
from app.timestamps import SYSTEM_CLOCK, Clock

_NEVER = float("inf")


class StalenessMonitor:
    """Decides whether responses can be served from the catalog as they are, or must state the age of the replica."""

    def __init__(self, reads: ReadExecutor, stale_after: int, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Set the seconds after which a replica is stale; with 0, it never is."""
        self._reads = reads
        self._stale_after = stale_after or _NEVER
        self._clock = clock
        self._version: Version | None = None
        self._fresh_until = 0.0

    def is_fresh(self, version: Version | None) -> bool:
        """Return whether the catalog, at this version, is known to be readable and not to be a stale replica."""
        return version == self._version and self._clock.time() < self._fresh_until

    async def refresh(self, version: Version | None) -> None:
        """Read until when the replica is fresh, unless it is already known to be fresh at this version."""
        if self.is_fresh(version) or version is None:
            return
        try:
            fresh_until = await self._reads.run(self._last_synced_at) + self._stale_after
        except DomainError:  # the application will report it
            fresh_until = 0.0
        self._version, self._fresh_until = version, fresh_until

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
        engine = self._reads.engine
        with engine.snapshot() as snapshot:
            upstream = snapshot.upstream()
        return _NEVER if upstream is None else engine.read_sync_status().last_success(upstream)
