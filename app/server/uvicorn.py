"""uvicorn, configured for this service."""

import asyncio
import signal
import socket
from collections.abc import Mapping
from typing import Any

from uvicorn import Config
from uvicorn import Server as BaseServer

from app.log_file import reopen_log_files
from app.server.backpressure import Buffers, WorkerState

OPTIONS: Mapping[str, Any] = {
    "loop": "uvloop",  # faster than asyncio's own event loop
    "ws": "none",  # the API has no WebSockets
    "lifespan": "on",  # builds Connexion's middleware at the start: an invalid contract stops it (Connexion #1693)
    "log_config": None,  # logging is configured already
    "access_log": False,  # the application writes it
    "reset_contextvars": True,  # a request must not see context variables of the one before (CPython #140947)
    "server_header": False,  # do not reveal the server software
    "proxy_headers": False,  # the application handles them
}


class UvicornServer(BaseServer):
    """uvicorn's server, with the state of a process of this service, which reopens its logs on SIGUSR1."""

    def __init__(self, config: Config, buffers: Buffers) -> None:
        super().__init__(config)
        self.server_state: WorkerState = WorkerState(buffers)

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve. uvicorn would end the process by the signal that stopped it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGQUIT, self._stop_at_once)
        loop.add_signal_handler(signal.SIGUSR1, reopen_log_files)
        await super()._serve(sockets)
        self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 already closed
        """Stop. Connections that are accepted meanwhile see `is_stopping`."""
        self.server_state.is_stopping = True
        await super().shutdown()  # the event loop closes the listening sockets; uvicorn would fail to do so again

    def _stop_at_once(self) -> None:
        """Stop without completing the requests that were received."""
        self.should_exit = self.force_exit = True
