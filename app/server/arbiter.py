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
    ready, and continue if the new ones cannot start.
    """

    def reload(self) -> None:
        """Replace all workers."""
        age = self.worker_age
        try:
            super().reload()
        except HaltServer as error:
            self.log.error("Reload failed: %s The old workers continue.", error.reason)  # noqa: TRY400 known
            self._kill([pid for pid, worker in self.WORKERS.items() if worker.age > age])

    def manage_workers(self) -> None:
        """Start missing workers, and stop the oldest surplus ones once the others are ready."""
        if not self._are_newest_ready():
            self.log.error("New workers are not ready after %s seconds. The old workers continue.", self.timeout)
            self._kill([pid for pid, worker in self.WORKERS.items() if not worker.is_ready])
        super().manage_workers()

    def _are_newest_ready(self) -> bool:
        """Wait until all workers but the surplus ones are ready, and return whether they are."""
        deadline = time.monotonic() + self.timeout
        while len(self.WORKERS) > self.num_workers:
            newest = sorted(self.WORKERS.values(), key=lambda worker: worker.age)[-self.num_workers :]
            if all(worker.is_ready for worker in newest):
                break
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_INTERVAL)
            self.reap_workers()
        return True

    def _kill(self, pids: list[int]) -> None:
        """Kill workers that have not served yet, even if more of them cannot start."""
        for pid in pids:
            self.kill_worker(pid, signal.SIGKILL)
        while any(pid in self.WORKERS for pid in pids):
            time.sleep(_POLL_INTERVAL)
            with suppress(HaltServer):
                self.reap_workers()
