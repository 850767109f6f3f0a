"""Where requests wait for the catalog, and where they read it, so that they do not delay other requests."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from app.catalog.engine import Engine
from app.catalog.errors import CatalogBusy, CatalogConnectionLost, QueryTimeout, ReadLimitExceeded, TooManyQueries
from app.errors import DomainError

# Limits of a read on the event loop: a page of a thousand images, and one that shows whether more follow; twice the
# CPU time that this page takes; and more elapsed time, for busy machines. The response is built and validated after it.
_LOOP_LIMITS = {"seconds": 0.008, "cpu_seconds": 0.004, "images": 1001}
# Requests of one worker. If each takes a hundredth of a second, the last of them has waited for as long as writers do.
_MAX_WAITING = 1000

T = TypeVar("T")


class Slots:
    """Slots that requests wait for, without occupying a thread."""

    def __init__(self, count: int, *, max_waiting: int = _MAX_WAITING) -> None:
        self._free = asyncio.Semaphore(count)
        self._max_waiting = max_waiting
        self.waiting = 0  # requests

    @asynccontextmanager
    async def take(self, timeout: float, error: DomainError) -> AsyncIterator[None]:
        """Occupy a slot for a block.

        Raises the error if none is free within the timeout (seconds), and at once if too many requests wait already.
        """
        if self._free.locked():
            await self._wait(timeout, error)
        else:
            await self._free.acquire()  # without the task that a timeout creates
        try:
            yield
        finally:
            self._free.release()

    async def _wait(self, timeout: float, error: DomainError) -> None:
        if self.waiting >= self._max_waiting:
            raise error
        self.waiting += 1
        try:
            await asyncio.wait_for(self._free.acquire(), timeout)
        except TimeoutError:
            raise error from None
        finally:
            self.waiting -= 1


class ReadExecutor:
    """Runs the reads of requests: on the event loop if they are fast, or else in threads.

    A read along an index of a SQLite file nearly always takes less time than a switch to a thread, and readers do not
    wait for writers. A read that takes longer, or finds the file locked, is interrupted, so that it does not delay
    other requests, and repeated in a thread. All reads of an engine that blocks run in threads.
    """

    def __init__(self, engine: Engine, timeout: int) -> None:
        """Set the seconds after which a read in a thread is given up."""
        self.engine = engine
        self._timeout = timeout
        self._slots = Slots(engine.max_readers)
        self._threads = ThreadPoolExecutor(engine.max_readers, thread_name_prefix="catalog")

    async def run(self, read: Callable[[], T]) -> T:
        """Return the result of a read. Raises QueryTimeout, TooManyQueries, and what the read raises."""
        if not self.engine.blocks:
            try:
                with self.engine.read_limits(**_LOOP_LIMITS):
                    return read()
            except (ReadLimitExceeded, CatalogBusy):
                pass  # repeated in a thread
        return await self._run_in_thread(read)

    async def _run_in_thread(self, read: Callable[[], T]) -> T:
        """Run a read in a thread. The time limit includes the wait for a thread."""
        deadline = time.monotonic() + self._timeout
        limited = partial(self._run_within_limit, read, deadline)
        async with self._slots.take(self._timeout, TooManyQueries(self._timeout)):
            run = partial(copy_context().run, limited)  # the thread's log lines need the request id
            return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def _run_within_limit(self, read: Callable[[], T], deadline: float) -> T:
        try:
            with self.engine.read_limits(deadline - time.monotonic()):
                return repeat_if_lost(read)
        except ReadLimitExceeded:
            raise QueryTimeout(self._timeout) from None


def repeat_if_lost(read: Callable[[], T]) -> T:
    """Return the result of a read, which is repeated once if its connection breaks: the database may be back."""
    try:
        return read()
    except CatalogConnectionLost:
        return read()
