"""The server: gunicorn with uvicorn workers, configured for this service."""

import gc
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gunicorn.app.base import BaseApplication
from uvicorn_worker import UvicornWorker

from app.contract.document import Contract
from app.factory import create_app
from app.logs import configure_logging, logging_config
from app.server.http_protocol import HttpProtocol
from app.server.proxy_headers import ProxyHeadersMiddleware
from app.settings import Settings

_GC_THRESHOLD = 100_000  # new objects before the garbage collector runs; Python's default is 700
_SWITCH_INTERVAL = (
    0.0005  # seconds for which a thread of a slow request delays the event loop; Python's default is 5 ms
)
_MAX_OPEN_FILES = 65_536  # each connection is an open file
_GRACEFUL_TIMEOUT = 30  # seconds in which a worker completes the requests that it has begun


class Worker(UvicornWorker):
    """A worker process of gunicorn that runs the application in uvicorn."""

    CONFIG_KWARGS = {  # noqa: RUF012 declared like this by uvicorn-worker
        "loop": "uvloop",  # faster than asyncio's own event loop
        "http": HttpProtocol,
        "ws": "none",  # the API has no WebSockets
        "lifespan": "on",  # builds Connexion's middleware at the start: an invalid contract stops it (Connexion #1693)
        "reset_contextvars": True,  # a request must not see context variables of the one before (CPython #140947)
        "timeout_graceful_shutdown": _GRACEFUL_TIMEOUT,  # uvicorn ignores gunicorn's setting (uvicorn #2094)
        "server_header": False,  # do not reveal the server software
        "proxy_headers": False,  # the application handles them
    }


class Server(BaseApplication):
    """gunicorn with this service as its application."""

    def __init__(self, settings: Settings, *, bind: str, workers: int) -> None:
        _raise_open_files_limit()
        self._settings = settings
        self._options = {
            "bind": bind,
            "workers": workers,
            "worker_class": Worker,
            "graceful_timeout": _GRACEFUL_TIMEOUT + 5,  # gunicorn kills workers only after their own timeout
            "logconfig_dict": logging_config(settings.log_format),  # formats gunicorn's own lines like all others
            "control_socket_disable": True,  # it is created in the home directory, which may be read-only or shared
            "proc_name": "compute-images",  # shown by ps, if setproctitle is installed
        }
        super().__init__()

    def load_config(self) -> None:
        """Set the options that differ from gunicorn's defaults."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> ProxyHeadersMiddleware:
        """Build the application, in each worker."""
        configure_logging(self._settings.log_format)  # the worker class has changed the configuration
        contract = Contract.load(secured=self._settings.auth != "none")
        HttpProtocol.prepare(contract)
        application = create_app(self._settings, contract, lifespan=tuned_lifespan)
        return ProxyHeadersMiddleware(application, self.cfg.forwarded_allow_ips)


def _raise_open_files_limit() -> None:
    """Raise the soft limit of open files, which is often only 1024, up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


@asynccontextmanager
async def tuned_lifespan(_app: object) -> AsyncIterator[None]:
    """Tune the garbage collector for the lifetime of the application.

    Objects that exist at the start are never freed, so the collector may skip them. A response with a thousand images
    creates ten thousand objects without reference cycles: reference counting frees them, and a collection in between
    would only delay the response.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    yield
