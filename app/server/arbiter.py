"""The master process of gunicorn."""

import signal
import time
from collections.abc import Iterable
from contextlib import suppress

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from app.logs import log_lifecycle
from app.server.worker import STOP_SIGNALS

_POLL_INTERVAL = 0.05  # seconds


class ReloadingArbiter(Arbiter):
    """gunicorn's master process, whose reload (SIGHUP) loses no requests.

    gunicorn stops the old workers while the new ones still start. Here, the old ones serve until the new ones are
    ready, and continue if the new ones cannot start. Meanwhile, the master process handles other signals.
    """

    _is_started = False
    _deadline: float | None = None  # of the reload in progress
    _old_age = 0  # of the newest worker that the reload replaces
    _reloads_again = False

    def __init__(self, app: BaseApplication, *, catalog: str) -> None:
        """Set the name of the catalog, for the log."""
        super().__init__(app)
        self._catalog = catalog

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Wait for signals, but only shortly while workers start, so that it is noticed when they are ready."""
        if not self._is_started and len(self.WORKERS) == self.num_workers and self._are_ready(self.WORKERS):
            self._is_started = True
            urls, workers = ", ".join(map(str, self.LISTENERS)), _count_workers(self.num_workers)
            log_lifecycle("serves %s at %s with %s", self._catalog, urls, workers)
        is_starting = not self._is_started or self._deadline is not None
        return list(super().wait_for_signals(_POLL_INTERVAL if is_starting else timeout))

    def handle_int(self) -> None:
        """Stop as on SIGTERM. A second SIGINT stops at once."""
        self.handle_term()

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """Stop the workers, and exit."""
        try:
            super().halt(reason, exit_status)
        finally:
            log_lifecycle("stopped")

    def spawn_worker(self) -> int:
        """Start a worker. Signals to stop reach it only when its own handlers have replaced those of this process."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            return int(super().spawn_worker())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def reload(self) -> None:
        """Start to replace all workers, once an earlier reload is complete. New workers leave this by SystemExit."""
        if self._deadline is not None:
            self._reloads_again = True
            return
        self._old_age, self._deadline = self.worker_age, time.monotonic() + self.timeout
        self.manage_workers()

    def manage_workers(self) -> None:
        """Start missing workers, and stop surplus ones: during a reload, not before all new ones are ready."""
        if self._deadline is not None:
            new = self._new_workers()
            if time.monotonic() > self._deadline:
                self._abort_reload(f"New workers are not ready after {self.timeout} seconds.")
            elif len(new) < self.num_workers:
                for _ in range(self.num_workers - len(new)):
                    self.spawn_worker()
                return
            elif not self._are_ready(new):
                return
            else:
                log_lifecycle("reloaded with %s", _count_workers(len(new)))
            self._deadline = None
        super().manage_workers()
        if self._reloads_again:
            self._reloads_again = False
            self.reload()

    def reap_workers(self) -> None:
        """Remove workers that have exited. Raises HaltServer if one could not start, and no other one serves."""
        try:
            super().reap_workers()
        except HaltServer as error:
            if self._deadline is None and not (self._is_started and self.WORKERS):
                raise
            self._continue_without_new_worker(error.reason)

    def _continue_without_new_worker(self, reason: str) -> None:
        """Abort a reload. Otherwise, `manage_workers` soon starts another worker."""
        if self._deadline is None:
            self.log.error("%s The other workers continue.", reason)
        else:
            self._abort_reload(reason)

    def _abort_reload(self, reason: str) -> None:
        """Kill the new workers, even if more of them cannot start."""
        self._deadline = None
        self.log.error("Reload failed: %s The old workers continue.", reason)
        pids = self._new_workers()
        for pid in pids:
            self.kill_worker(pid, signal.SIGKILL)
        while any(pid in self.WORKERS for pid in pids):
            time.sleep(_POLL_INTERVAL)
            with suppress(HaltServer):
                super().reap_workers()

    def _are_ready(self, pids: Iterable[int]) -> bool:
        return all(self.WORKERS[pid].is_ready for pid in pids)

    def _new_workers(self) -> list[int]:
        """Return the process ids of the workers that the reload has started."""
        return [pid for pid, worker in self.WORKERS.items() if worker.age > self._old_age]


def _count_workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
