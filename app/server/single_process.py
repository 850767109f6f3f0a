"""The server of a test double: one process, because the state of a test double is in its memory."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from connexion import FlaskApp
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.asgi import CLOSE_AT_EOF, CLOSE_CONNECTION
from app.catalog.engines import open_file
from app.catalog.executor import ReadExecutor
from app.contract.document import Contract
from app.double.state import Double
from app.factory import create_app
from app.logs import configure_logging, log_lifecycle
from app.overrides import Overrides
from app.server.backpressure import Buffers, max_buffered_bytes
from app.server.http_protocol import HttpProtocol
from app.server.proxy_headers import ProxyHeadersMiddleware
from app.server.rejections import Rejections
from app.server.uvicorn import OPTIONS, UvicornServer
from app.settings import Settings

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_GRACEFUL_TIMEOUT = 1  # seconds in which a stopping server completes the requests that it has received


class DoubleProtocol(HttpProtocol):
    """One connection, which the application can close without a response."""

    _closes_at_eof = False

    def eof_received(self) -> bool:  # type: ignore[override]
        """Close the connection if its request is delayed: most clients that close their side have given up."""
        return super().eof_received() and not self._closes_at_eof

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        extensions = {CLOSE_CONNECTION: self.transport.close, CLOSE_AT_EOF: self._close_at_eof}
        cycle.scope["extensions"] = extensions  # type: ignore[typeddict-item]
        super()._start_asgi_task(cycle, app)

    def _close_at_eof(self) -> None:
        self._closes_at_eof = True
        if self._is_at_eof:
            self.transport.close()


class DoubleServer(UvicornServer):
    """The server of a test double."""

    def __init__(self, config: Config, buffers: Buffers, on_ready: Callable[[], None]) -> None:
        """Set what is called once connections are accepted."""
        super().__init__(config, buffers)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop. uvicorn would cancel the application, with a traceback, where it stops without completing requests."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()


def create_double(settings: Settings) -> tuple[FlaskApp, Contract]:
    """Build the application of a test double, and its contract. Raises CatalogUnavailable."""
    contract = Contract.load(secured=True, testing=True)
    engine = open_file(Path(settings.catalog))
    double = Double(engine, ReadExecutor(engine, settings.query_timeout), contract)
    overrides = Overrides(clock=double.clock, engine=engine, authenticator=double.authenticator, double=double)
    return create_app(replace(settings, auth="token"), contract, overrides=overrides), contract


def build_server(
    settings: Settings, on_ready: Callable[[], None], *, trusted_proxies: Sequence[str] = ()
) -> DoubleServer:
    """Build the server of a test double."""
    app, contract = create_double(settings)
    HttpProtocol.rejections = Rejections(contract)
    config = Config(
        ProxyHeadersMiddleware(app.middleware, list(trusted_proxies)),
        **OPTIONS,
        http=DoubleProtocol,
        timeout_graceful_shutdown=_GRACEFUL_TIMEOUT,
    )
    return DoubleServer(config, Buffers(max_buffered_bytes(settings.max_limit)), on_ready)


def run_double(settings: Settings, address: str, *, original: str) -> None:
    """Serve the catalog of the settings, a copy of the original, as a test double in this process."""
    from gunicorn.config import Config as GunicornConfig  # noqa: PLC0415 it would delay the start of the fixture

    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listener = socket.create_server((host.strip("[]"), int(port)), family=family)
    configure_logging(settings.log_format, settings.log_level)
    url = f"http://{host}:{listener.getsockname()[1]}"
    with listener:
        build_server(
            settings,
            lambda: log_lifecycle("serves a copy of %s at %s with one process, as a test double", original, url),
            trusted_proxies=GunicornConfig().forwarded_allow_ips,
        ).run([listener])
    log_lifecycle("stopped")
