"""Runs the catalog's reads on the event loop or in threads, and bounds how many requests wait for a slot."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from app.catalog.engine import Engine
from app.catalog.errors import (
    CatalogBusy,
    CatalogConnectionLost,
    NotStarted,
    QueryTimeout,
    ReadLimitExceeded,
    TooManyQueries,
)
from app.errors import DomainError

# Limits of a read on the event loop: the images of a page of 1000, and one more, which shows whether more follow; over
# twice the CPU time of such a page if the parts of its images are stored; and twice as much elapsed time, for busy
# machines. Building and validating the response come in addition.
_LOOP_LIMITS = {"seconds": 0.004, "cpu_seconds": 0.002, "images": 1001}
# The most requests that wait in one worker. If each takes 10 ms, the last one waits for as long as WRITER_TIMEOUT.
_MAX_WAITING = 1000

T = TypeVar("T")


class Slots:
    """A limited number of slots. Requests wait for a free one without occupying a thread."""

    def __init__(self, count: int, *, max_waiting: int = _MAX_WAITING) -> None:
        self._free = asyncio.Semaphore(count)
        self._max_waiting = max_waiting
        self.waiting = 0  # requests

    @asynccontextmanager
    async def take(self, timeout: float, error: DomainError) -> AsyncIterator[None]:
        """Occupy a slot for a block.

        Raises the given error if no slot is free within the timeout (seconds), or at once if too many requests wait.
        """
        if self._free.locked():
            await self._wait(timeout, error)
        else:
            # Returns at once, so that `locked` is up to date for the next request. `wait_for` would acquire the slot
            # later, in a task, and take 10 µs: 1% of a read in a thread.
            await self._free.acquire()
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
    """Runs the reads of requests: on the event loop if they are fast, and in threads otherwise.

    In a SQLite file, a read along an index nearly always takes less time than a switch to a thread, and readers do not
    wait for writers. A read that takes longer, or finds the file locked, is interrupted, so that it does not delay
    other requests, and repeated in a thread. With an engine that blocks, all reads run in threads.
    """

    def __init__(self, engine: Engine, timeout: int) -> None:
        """Set the timeout of a read in a thread, in seconds. It includes the wait for the thread."""
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
        seconds = deadline - time.monotonic()
        try:
            with self.engine.read_limits(seconds):
                return repeat_if_lost(read)
        except ReadLimitExceeded as error:
            has_waited = isinstance(error, NotStarted) or seconds < self._timeout / 2  # for longer than it ran
            raise (TooManyQueries if has_waited else QueryTimeout)(self._timeout) from None


def repeat_if_lost(read: Callable[[], T]) -> T:
    """Return the result of a read. If its connection breaks, repeat it once: the database may be available again."""
    try:
        return read()
    except CatalogConnectionLost:
        return read()
