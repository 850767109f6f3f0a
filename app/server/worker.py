"""A worker process: uvicorn in gunicorn."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from gunicorn.arbiter import Arbiter
from uvicorn import Config
from uvicorn import Server as UvicornServer
from uvicorn_worker import UvicornWorker

from app.log_file import reopen_log_files
from app.server.backpressure import Buffers, WorkerState
from app.server.http_protocol import HttpProtocol

GRACEFUL_TIMEOUT = 30  # seconds in which a stopping worker completes the requests that it has received
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_ORPHAN_TIMEOUT = 1  # the same if the master process is gone: a new one may be starting
_GC_THRESHOLD = 100_000  # new objects before the garbage collector runs; Python's default is 700
_SWITCH_INTERVAL = 0.0005  # seconds for which a slow request's thread delays the event loop; Python's default is 5 ms

_log = logging.getLogger(__name__)


class WorkerServer(UvicornServer):
    """uvicorn's server, with the state of a worker of this service."""

    def __init__(self, config: Config, buffers: Buffers, *, master: int) -> None:
        """Set the process id of the master process."""
        super().__init__(config)
        self.server_state: WorkerState = WorkerState(buffers)
        self._master = master

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop, ten times a second: also if the master process is gone."""
        if self._is_orphan():
            _log.error("The master process is gone: this worker stops.")
            self.config.timeout_graceful_shutdown = _ORPHAN_TIMEOUT
            return True
        return await super().on_tick(counter)

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and write the rest of the log.

        uvicorn would end the process by the signal that stopped it, which the master process reports as a problem. An
        orphan exits at once, because Python would wait for its threads. SQLite rolls their transactions back.
        """
        await super()._serve(sockets)
        logging.shutdown()
        self._captured_signals.clear()
        if self._is_orphan():
            os._exit(0)

    def stop_at_once(self) -> None:
        """Stop without completing the requests that were received."""
        self.should_exit = self.force_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 already closed
        """Stop. Connections that are accepted meanwhile see `is_stopping`."""
        self.server_state.is_stopping = True
        await super().shutdown()  # the event loop closes the listening sockets; uvicorn would fail to do so again

    def _is_orphan(self) -> bool:
        """Return whether the master process is gone."""
        return os.getppid() != self._master


class Worker(UvicornWorker):
    """A worker process of gunicorn that runs the application in uvicorn."""

    CONFIG_KWARGS = {  # noqa: RUF012 declared like this by uvicorn-worker
        "loop": "uvloop",  # faster than asyncio's own event loop
        "http": HttpProtocol,
        "ws": "none",  # the API has no WebSockets
        "lifespan": "on",  # builds Connexion's middleware at the start: an invalid contract stops it (Connexion #1693)
        "reset_contextvars": True,  # a request must not see context variables of the one before (CPython #140947)
        "timeout_graceful_shutdown": GRACEFUL_TIMEOUT,  # uvicorn ignores gunicorn's setting (uvicorn #2094)
        "server_header": False,  # do not reveal the server software
        "proxy_headers": False,  # the application handles them
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
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGQUIT, server.stop_at_once)  # uvicorn-worker's handler does not stop it
        loop.add_signal_handler(signal.SIGUSR1, reopen_log_files)
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        os._exit(0)  # Python would wait for threads


@asynccontextmanager
async def tuned_lifespan(_app: object) -> AsyncIterator[None]:
    """Tune the garbage collector and the switches between threads for the lifetime of the application.

    Objects that exist at the start are never freed, so the collector may skip them. A response with a thousand images
    creates ten thousand objects without reference cycles: reference counting frees them, and a collection in between
    would only delay the response.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    yield
