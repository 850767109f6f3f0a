"""Engines for tests."""

import asyncio
from contextlib import _GeneratorContextManager
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

from app.catalog.errors import CatalogUnavailable
from app.catalog.models import SyncStatus, Version
from app.catalog.sqlite.engine import SQLiteEngine
from app.catalog.sqlite.reader import SQLiteSnapshot
from app.catalog.sqlite.writer import SQLiteTransaction


class ImpatientEngine(SQLiteEngine):
    """An engine that waits for other writers for a tenth of a second at most."""

    def transaction(self, *, timeout: float) -> _GeneratorContextManager[SQLiteTransaction]:
        """Start a transaction with a short timeout."""
        return super().transaction(timeout=min(timeout, 0.1))


class BlockingEngine(SQLiteEngine):
    """An engine that blocks, as behind a network: its version is a future, and reads on an event loop fail."""

    blocks = True
    max_readers = 4

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.versions = 0  # that were requested
        self._asked: asyncio.Future[Version] | None = None

    def version(self) -> asyncio.Future[Version]:  # type: ignore[override]
        """Return the version in the next iteration of the event loop, for all that request it in this one."""
        self.versions += 1
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self._resolve, self._asked)
        return self._asked

    def snapshot(self, *, is_single: bool = False) -> _GeneratorContextManager[SQLiteSnapshot]:
        """Read one state of the catalog."""
        _require_thread()
        return super().snapshot(is_single=is_single)

    def transaction(self, *, timeout: float) -> _GeneratorContextManager[SQLiteTransaction]:
        """Write to the catalog."""
        _require_thread()
        return super().transaction(timeout=timeout)

    def read_sync_status(self) -> SyncStatus:
        """Read the status of the mirror's syncs."""
        _require_thread()
        return super().read_sync_status()

    def _resolve(self, asked: asyncio.Future[Version]) -> None:
        self._asked = None
        try:
            asked.set_result(super().version())
        except CatalogUnavailable as error:
            asked.set_exception(error)
            asked.exception()  # its client may have disconnected


class HeldEngine(BlockingEngine):
    """An engine whose versions a test can hold back: those that are requested until it releases one share it."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.holds = False
        self._held: Queue[partial[asyncio.Handle]] = Queue()

    def release(self) -> None:
        """Wait until a version is requested, and release it."""
        self._held.get(timeout=20)()

    def _resolve(self, asked: asyncio.Future[Version]) -> None:
        read = partial(super()._resolve, asked)
        if self.holds:
            self._held.put(partial(asyncio.get_running_loop().call_soon_threadsafe, read))
        else:
            read()


def _require_thread() -> None:
    """Fail on the event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise AssertionError("The event loop waits for the catalog.")
