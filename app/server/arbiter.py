"""The master process of gunicorn."""

import signal
import time
from contextlib import suppress

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

_POLL_INTERVAL = 0.05  # seconds


class ReloadingArbiter(Arbiter):
    """gunicorn's master process, whose reload (SIGHUP) loses no requests.

    gunicorn stops the old workers while the new ones still start. Here, the old ones serve until the new ones are
    ready, and continue if the new ones cannot start. Meanwhile, the master process handles other signals.
    """

    _deadline: float | None = None  # of the reload in progress
    _old_age = 0  # of the newest worker that the reload replaces
    _reloads_again = False

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
            elif not all(self.WORKERS[pid].is_ready for pid in new):
                return
            self._deadline = None
        super().manage_workers()
        if self._reloads_again:
            self._reloads_again = False
            self.reload()

    def reap_workers(self) -> None:
        """Remove workers that have exited. Raises HaltServer if one could not start, except during a reload."""
        try:
            super().reap_workers()
        except HaltServer as error:
            if self._deadline is None:
                raise
            self._abort_reload(error.reason)

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

    def _new_workers(self) -> list[int]:
        """Return the process ids of the workers that the reload has started."""
        return [pid for pid, worker in self.WORKERS.items() if worker.age > self._old_age]
