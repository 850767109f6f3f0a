"""The page with the metrics of all processes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from app.catalog.engine import Engine, current_version
from app.catalog.errors import CatalogUnavailable
from app.metrics.catalog import CatalogCollector
from app.metrics.processes import ProcessCollector
from app.metrics.recorder import Recorder
from app.timestamps import Clock


class MetricsPage:
    """Builds the page in a thread of its own, because that takes milliseconds. Scrapes that wait for it share it."""

    def __init__(self, recorder: Recorder, engine: Engine, clock: Clock) -> None:
        self._recorder = recorder
        self._engine = engine
        self._catalog = CatalogCollector(engine, clock)
        self._registry = CollectorRegistry()
        self._registry.register(self._catalog)
        self._registry.register(ProcessCollector(recorder.folder))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._lock = asyncio.Lock()
        self._next: dict[str, asyncio.Task[bytes]] = {}  # pages that are not begun yet, by media type

    async def read(self, accept: str) -> tuple[bytes, str]:
        """Return the page and its media type. It contains every request that had its response before this one came."""
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # the version of a format is not a number
            encode, media_type = choose_encoder("")
        if media_type not in self._next:
            self._next[media_type] = asyncio.create_task(self._build(encode, media_type))
        return await asyncio.shield(self._next[media_type]), media_type

    async def _build(self, encode: Callable[[Collector], bytes], media_type: str) -> bytes:
        async with self._lock:
            del self._next[media_type]
            self._recorder.sample()
            self._catalog.version = None
            with suppress(CatalogUnavailable):
                self._catalog.version = await current_version(self._engine)
            return await asyncio.get_running_loop().run_in_executor(self._thread, encode, self._registry)
