"""The server of a test double: one process, because the state of a test double is in its memory."""

import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from connexion import FlaskApp
from uvicorn import Config
from uvicorn import Server as UvicornServer
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.asgi import CLOSE_CONNECTION
from app.catalog.engines import open_catalog
from app.contract.document import Contract
from app.double.state import Double
from app.factory import create_app
from app.logs import LIFECYCLE, configure_logging
from app.overrides import Overrides
from app.server.backpressure import Buffers, WorkerState, max_buffered_bytes
from app.server.http_protocol import HttpProtocol
from app.server.rejections import Rejections
from app.settings import Settings

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_GRACEFUL_TIMEOUT = 1  # seconds in which a stopping server completes the requests that it has received

_log = logging.getLogger(LIFECYCLE)


class DoubleProtocol(HttpProtocol):
    """One connection, which the application can close without a response."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        cycle.scope["extensions"] = {CLOSE_CONNECTION: self.transport.close}  # type: ignore[dict-item]
        super()._start_asgi_task(cycle, app)


class DoubleServer(UvicornServer):
    """uvicorn's server, with the state of a worker of this service."""

    def __init__(
        self, config: Config, buffers: Buffers, on_ready: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        """Set what is called once connections are accepted, and at the end."""
        super().__init__(config)
        self.server_state: WorkerState = WorkerState(buffers)
        self._on_ready, self._on_stop = on_ready, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets)
        self._on_ready()

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and write the rest of the log: uvicorn then ends the process with the signal that stopped it."""
        await super()._serve(sockets)
        self._on_stop()
        logging.shutdown()


def create_double(settings: Settings) -> tuple[FlaskApp, Contract]:
    """Build the application of a test double, and its contract. Raises CatalogUnavailable."""
    contract = Contract.load(secured=True, testing=True)
    engine = open_catalog(settings.catalog)
    double = Double(engine, contract)
    overrides = Overrides(clock=double.clock, engine=engine, authenticator=double.authenticator, double=double)
    return create_app(replace(settings, auth="token"), contract, overrides=overrides), contract


def build_server(
    settings: Settings, on_ready: Callable[[], None], on_stop: Callable[[], None] = lambda: None
) -> DoubleServer:
    """Build the server of a test double."""
    app, contract = create_double(settings)
    HttpProtocol.rejections = Rejections(contract)
    config = Config(
        app,
        loop="uvloop",
        http=DoubleProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        reset_contextvars=True,
        timeout_graceful_shutdown=_GRACEFUL_TIMEOUT,
    )
    return DoubleServer(config, Buffers(max_buffered_bytes(settings.max_limit)), on_ready, on_stop)


def run_double(settings: Settings, address: str) -> None:
    """Serve the catalog of the settings as a test double, in this process."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError as error:
        sys.exit(f"Error: {error.strerror}")
    configure_logging(settings.log_format, settings.log_level)
    name, url = f"compute-images {version('compute-images')}", f"http://{host}:{listener.getsockname()[1]}"
    with listener:
        build_server(
            settings,
            lambda: _log.info("%s serves %s at %s with one process, as a test double", name, settings.catalog, url),
            lambda: _log.info("%s stopped", name),
        ).run([listener])
