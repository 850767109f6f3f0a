"""The parts of the service that requests need: the catalog, its mirror, and Keystone."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from app.api.serializers import serialize_mirror_health
from app.auth.base import Authenticator
from app.catalog.engine import Engine
from app.catalog.errors import CatalogUnavailable, ReadLimitExceeded, SchemaMismatch
from app.catalog.executor import repeat_if_lost
from app.catalog.models import JsonObject
from app.catalog.reader import CatalogReader
from app.errors import DomainError, IdentityUnavailable
from app.settings import Settings
from app.timestamps import Clock

_READ_TIMEOUT = 5  # seconds
_OK: JsonObject = {"status": "ok"}
_UNKNOWN: JsonObject = {"status": "unknown"}

_log = logging.getLogger(__name__)


class ReadinessMonitor:
    """Checks each part, outside of the event loop, and logs when the service becomes unavailable or ready."""

    def __init__(
        self, settings: Settings, engine: Engine, catalog: CatalogReader, authenticator: Authenticator, clock: Clock
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._catalog = catalog
        self._authenticator = authenticator
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="readiness")
        self._failed: frozenset[str] = frozenset()  # the parts that failed in the last check

    async def check(self) -> dict[str, JsonObject]:
        """Return the state of each part by its name."""
        checks = [asyncio.get_running_loop().run_in_executor(self._thread, self._check_catalog)]
        if self._settings.auth == "keystone":
            checks.append(asyncio.ensure_future(self._check_keystone()))
        results = {name: result for each in await asyncio.gather(*checks) for name, result in each.items()}
        self._log_change({name: each for name, each in results.items() if isinstance(each, DomainError)})
        return {name: _failure(each) if isinstance(each, DomainError) else each for name, each in results.items()}

    def _check_catalog(self) -> dict[str, JsonObject | DomainError]:
        try:
            with self._engine.read_limits(_READ_TIMEOUT):
                repeat_if_lost(self._catalog.ping)
                return {"catalog": _OK, "migrations": _OK, **self._check_mirror()}
        except SchemaMismatch as error:
            return {"catalog": _OK, "migrations": error}
        except ReadLimitExceeded:
            timeout = CatalogUnavailable(f"The catalog was not read within {_READ_TIMEOUT} seconds.")
            return {"catalog": timeout, "migrations": _UNKNOWN}
        except CatalogUnavailable as error:
            return {"catalog": error, "migrations": _UNKNOWN}

    def _check_mirror(self) -> dict[str, JsonObject]:
        """Return the state of the mirror, or nothing if the catalog is not a replica.

        The ids of images are shown only if authentication is disabled: they would reveal images of other projects.
        """
        upstream = self._catalog.upstream()
        if upstream is None:
            return {}
        status = self._engine.read_sync_status()
        age = status.age(upstream, self._clock)
        is_stale = 0 < self._settings.stale_after <= age
        with_images = self._settings.auth == "none"
        return {"mirror": serialize_mirror_health(status, age, is_stale=is_stale, with_images=with_images)}

    async def _check_keystone(self) -> dict[str, JsonObject | DomainError]:
        try:
            await self._authenticator.check()
        except IdentityUnavailable as error:
            return {"keystone": error}
        return {"keystone": _OK}

    def _log_change(self, errors: dict[str, DomainError]) -> None:
        if errors and errors.keys() != self._failed:
            _log.error("Not ready: %s", "; ".join(f"{name}: {error}" for name, error in errors.items()))
        elif self._failed and not errors:
            _log.warning("Ready again: %s", ", ".join(sorted(self._failed)))
        self._failed = frozenset(errors)


def _failure(error: DomainError) -> JsonObject:
    return {"status": "failed", "reason": error.public_message}
