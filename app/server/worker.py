"""A worker process: uvicorn in gunicorn."""

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
from typing import ClassVar

from gunicorn.arbiter import Arbiter
from uvicorn import Config
from uvicorn_worker import UvicornWorker

from app.server.backpressure import Buffers
from app.server.http_protocol import HttpProtocol
from app.server.uvicorn import OPTIONS, UvicornServer

GRACEFUL_TIMEOUT = 30  # seconds in which a stopping worker completes the requests that it has received
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_ORPHAN_TIMEOUT = 1  # the same if the master process is gone: a new one may be starting
_GC_THRESHOLD = 100_000  # new objects before the garbage collector runs; Python's default is 700
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt
_KEPT_BYTES = 8_000_000  # of freed memory that is kept until the next tick; enough for several pages of 1000 images
_SWITCH_INTERVAL = 0.0005  # seconds for which a slow request's thread delays the event loop; Python's default is 5 ms

_C_LIBRARY = ctypes.CDLL(None)

_log = logging.getLogger(__name__)


class WorkerServer(UvicornServer):
    """The server of a worker, which stops if the master process is gone."""

    def __init__(self, config: Config, buffers: Buffers, *, master: int) -> None:
        """Set the process id of the master process."""
        super().__init__(config, buffers)
        self._master = master
        self._requests = -1  # received before memory was last returned

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop: also if the master process is gone. Called ten times a second."""
        if self._is_orphan():
            _log.error("The master process is gone: this worker stops.")
            self.config.timeout_graceful_shutdown = _ORPHAN_TIMEOUT
            return True
        if self._requests != self.server_state.total_requests:
            self._requests = self.server_state.total_requests
            _return_freed_memory()
        return await super().on_tick(counter)

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and write the rest of the log.

        An orphan exits at once, because Python would wait for its threads. SQLite rolls their transactions back.
        """
        await super()._serve(sockets)
        logging.shutdown()
        if self._is_orphan():
            os._exit(0)

    def _is_orphan(self) -> bool:
        """Return whether the master process is gone."""
        return os.getppid() != self._master


class Worker(UvicornWorker):
    """A worker process of gunicorn that runs the application in uvicorn."""

    CONFIG_KWARGS: ClassVar = {
        **OPTIONS,
        "http": HttpProtocol,
        "timeout_graceful_shutdown": GRACEFUL_TIMEOUT,  # uvicorn ignores gunicorn's setting (uvicorn #2094)
    }

    buffers: ClassVar = Buffers()

    @property
    def is_ready(self) -> bool:
        """Whether the worker accepts connections. Read by the master process."""
        return os.fstat(self.tmp.fileno()).st_size > 0

    def init_signals(self) -> None:
        """Replace the handlers of the master process, which has blocked the signals to stop meanwhile."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    async def callback_notify(self) -> None:
        """Report to the master process that the worker is ready, and alive."""
        if not self.is_ready:
            os.write(self.tmp.fileno(), b"\n")
        await super().callback_notify()

    async def _serve(self) -> None:
        """Serve until the worker is stopped. uvicorn-worker does the same with uvicorn's own server."""
        self.config.app = self.wsgi
        server = WorkerServer(self.config, self.buffers, master=self.ppid)
        await server.serve(sockets=[each.sock for each in self.sockets])  # gunicorn's would be closed twice by uvloop
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        os._exit(0)  # Python would wait for threads


def _keep_freed_memory() -> None:
    """Let the GNU C Library keep a few megabytes of freed memory until the next tick. Other C libraries are unaffected.

    By default, it returns the memory of each large buffer to the system, which has to clear the memory pages of the
    next one. For a list of a thousand images, this takes 0.5 ms of CPU time.
    """
    mallopt = getattr(_C_LIBRARY, "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _return_freed_memory() -> None:
    """Let the GNU C Library return freed memory to the system, including the gaps between objects in use.

    By default, it keeps the gaps that evicted responses leave: 12 to 20 MB with a response cache of 32 MB. Returning
    12 MB takes 1.5 ms of CPU time; a call that finds nothing to return takes 0.03 to 0.5 ms.
    """
    malloc_trim = getattr(_C_LIBRARY, "malloc_trim", None)
    if malloc_trim:
        malloc_trim(0)


def tune_process() -> None:
    """Tune the memory allocator, the garbage collector and the switches between threads.

    Objects that exist at the start are never freed, so the collector may skip them. A response with a thousand images
    creates ten thousand objects without reference cycles: reference counting frees them, and a collection in between
    would only delay the response.
    """
    _keep_freed_memory()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    sys.setswitchinterval(_SWITCH_INTERVAL)
