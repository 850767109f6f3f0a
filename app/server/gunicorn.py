"""The server: gunicorn, its workers, and what this service needs them to do."""

import gc
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connexion import FlaskApp
from gunicorn.app.base import BaseApplication
from uvicorn_worker import UvicornWorker

from app.contract.document import Contract
from app.factory import create_app
from app.server.http_protocol import HttpProtocol
from app.settings import Settings

_GC_THRESHOLD = 100_000  # made and not yet gone, before the garbage collector looks; its own default is 700
_MAX_OPEN_FILES = 65_536  # connections among them
_GRACEFUL_TIMEOUT = 30  # seconds in which a worker answers what it has begun


class Worker(UvicornWorker):
    """A worker of gunicorn that runs an ASGI application in uvicorn."""

    CONFIG_KWARGS = {  # noqa: RUF012 uvicorn-worker has it so
        "loop": "uvloop",
        "http": HttpProtocol,
        "ws": "none",
        "lifespan": "on",  # builds Connexion's stack at the start, so that a broken contract ends it (Connexion #1693)
        "reset_contextvars": True,  # or a request finds what the one before left in its context (CPython #140947)
        "timeout_graceful_shutdown": _GRACEFUL_TIMEOUT,  # gunicorn's own setting does not reach uvicorn (uvicorn #2094)
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
        _raise_open_files_limit()
        self._settings = settings
        self._options = {
            "bind": bind,
            "workers": workers,
            "worker_class": Worker,
            "graceful_timeout": _GRACEFUL_TIMEOUT + 5,  # the worker is done before gunicorn loses patience
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
        contract = Contract.load(secured=self._settings.auth != "none")
        HttpProtocol.prepare(contract)
        return create_app(self._settings, contract, lifespan=tuned_lifespan)


def _raise_open_files_limit() -> None:
    """Have as many connections as the system lets a process have: it begins with fewer, for programs of old."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@asynccontextmanager
async def tuned_lifespan(_app: object) -> AsyncIterator[None]:
    """Give the garbage collector less to do.

    What there is at the start stays, and is hidden from it. An answer of a thousand images is made of ten thousand
    objects, none in a circle: they go by themselves, and it need not look for them in the middle of the work.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    yield
