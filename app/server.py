"""The server: gunicorn, its workers, and what this service needs them to do."""

import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from connexion import FlaskApp
from gunicorn.app.base import BaseApplication
from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn_worker import UvicornWorker

from app.contract import Contract
from app.factory import create_app
from app.middleware import REQUEST_ID_HEADERS, RequestIds
from app.settings import Settings

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_log = logging.getLogger(__name__)

_MALFORMED = "The request could not be read: its method, URL, headers or body are no well-formed HTTP/1.1."
_OBJECTS = 100_000  # made and not yet gone, before the garbage collector looks; its own default is 700
_GRACE = 30  # seconds in which a worker answers what it has begun


class Protocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, with a fault for what is no HTTP: after the answers to what came before, in order.

    uvicorn would answer at once, and lose or scramble the answers that are on their way. Nor would it tell the request
    that it is answering, only the newest, that the client has gone.
    """

    fault = b""  # the body, and the ids: set when the application is loaded
    new_id = RequestIds()
    _malformed = False
    _read = b""
    _answering: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        """Read on, unless what came before was no HTTP: then nobody can say where the next request begins."""
        if not self._malformed:
            self._read = data
            super().data_received(data)

    def on_headers_complete(self) -> None:
        """Begin a request, unless it is to be read again."""
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request, likewise."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 uvicorn's own words
        """Answer what is no HTTP, as soon as its turn comes, and close the connection."""
        self._malformed = True
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            self._answer_malformed()

    def on_response_complete(self) -> None:
        """Go on to the next request, or to what is no HTTP."""
        super().on_response_complete()
        if self._malformed and self.cycle.response_complete and not self.transport.is_closing():
            self._answer_malformed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of what was begun and what was to come."""
        if self._answering and not self._answering.response_complete:
            self._answering.disconnected = True
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Read a request again as if it asked for no Upgrade, which HTTP lets a server ignore.

        httptools takes what follows its headers for another protocol: a body would be the next request. CONNECT asks
        for one in any case, and for nothing that is here.
        """
        if self.parser.get_method() == b"CONNECT":
            self.send_400_response("")
            return
        stopped = sys.exception()  # where uvicorn calls this, httptools has just said how far it read
        rest = self._read[stopped.args[0] :] if stopped else b""
        version = self.parser.get_http_version().encode("ascii")
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does with its own
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _answer_malformed(self) -> None:
        body = self.fault
        request_id = self.new_id()
        _log.info("%s was no HTTP", request_id)
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n"
        )
        ids = "".join(f"{name}: {request_id}\r\n" for name in REQUEST_ID_HEADERS)
        self.transport.write(f"{head}{ids}\r\n".encode("ascii") + body)
        self.transport.close()


class Worker(UvicornWorker):
    """A worker of gunicorn that runs an ASGI application in uvicorn."""

    CONFIG_KWARGS = {  # noqa: RUF012 uvicorn-worker has it so
        "loop": "uvloop",
        "http": Protocol,
        "ws": "none",
        "lifespan": "on",  # builds Connexion's stack at the start, so that a broken contract ends it (Connexion #1693)
        "reset_contextvars": True,  # or a request finds what the one before left in its context (CPython #140947)
        "timeout_graceful_shutdown": _GRACE,  # gunicorn's own setting does not reach uvicorn (uvicorn #2094)
        "server_header": False,
    }

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        log = logging.getLogger("app")  # goes where gunicorn's goes
        log.handlers = self.log.error_log.handlers
        log.setLevel(self.log.error_log.level)


class Server(BaseApplication):
    """gunicorn with this service in it."""

    def __init__(self, settings: Settings, *, bind: str, workers: int) -> None:
        self._settings = settings
        self._options = {
            "bind": bind,
            "workers": workers,
            "worker_class": Worker,
            "graceful_timeout": _GRACE + 5,  # the worker is done before gunicorn loses patience
            "control_socket_disable": True,  # it lies in the home directory, which may be read-only or shared
            "proc_name": "compute-images",
        }
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> FlaskApp:
        """Build the application, in each worker."""
        contract = Contract.load()
        Protocol.fault = contract.fault(400, _MALFORMED)
        Protocol.new_id = RequestIds()
        return create_app(self._settings, contract, lifespan=settled)


@asynccontextmanager
async def settled(_app: object) -> AsyncIterator[None]:
    """Give the garbage collector less to do.

    What there is at the start stays, and is hidden from it. An answer of a thousand images is made of ten thousand
    objects, none in a circle: they go by themselves, and it need not look for them in the middle of the work.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS, 20, 20)
    yield
