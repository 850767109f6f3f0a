"""The server: gunicorn with uvicorn workers, configured for this service."""

import resource
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from gunicorn.app.base import BaseApplication

from app.catalog.engines import open_catalog
from app.contract.document import Contract
from app.factory import create_app
from app.logs import configure_logging, logging_config
from app.middleware.response_cache import CACHE_EXTENSION
from app.server.arbiter import ReloadingArbiter
from app.server.backpressure import Buffers, max_buffered_bytes
from app.server.cached_responses import CachedResponses
from app.server.http_protocol import HttpProtocol
from app.server.proxy_headers import ProxyHeadersMiddleware
from app.server.rejections import Rejections
from app.server.worker import GRACEFUL_TIMEOUT, Worker, tune_process
from app.settings import InvalidSetting, Settings

if TYPE_CHECKING:
    from app.middleware.metrics import Metrics

_MAX_OPEN_FILES = 65_536  # each connection is an open file


class Server(BaseApplication):
    """gunicorn with this service as its application."""

    def __init__(self, settings: Settings, *, bind: str, workers: int) -> None:
        _raise_open_files_limit()
        self._settings = settings
        self._options = {
            "bind": bind,
            "workers": workers,
            "worker_class": Worker,
            "graceful_timeout": GRACEFUL_TIMEOUT + 5,  # gunicorn kills workers only after their own timeout
            "logconfig_dict": logging_config(
                settings.log_format, settings.log_level
            ),  # formats gunicorn's own lines like all others
            "umask": 0o117,  # a Unix socket is for the user and the group of the service, not for everybody
            "control_socket_disable": True,  # it is created in the home directory, which may be read-only or shared
            "proc_name": "compute-images",  # shown by ps, if setproctitle is installed
        }
        self._metrics_folder = self._share_metrics() if settings.metrics == "on" else None
        super().__init__()

    def load_config(self) -> None:
        """Set the options that differ from gunicorn's defaults."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Run the master process."""
        try:
            ReloadingArbiter(self, catalog=open_catalog(self._settings.catalog).name).run()
        except RuntimeError as error:
            sys.exit(f"Error: {error}")

    def load(self) -> ProxyHeadersMiddleware:
        """Build the application, in each worker."""
        # The worker class has changed the configuration.
        configure_logging(self._settings.log_format, self._settings.log_level)
        contract = Contract.load(secured=self._settings.auth != "none")
        metrics = self._metrics(contract)
        HttpProtocol.rejections = Rejections(contract, metrics.record_rejection if metrics else None)
        Worker.buffers = Buffers(max_buffered_bytes(self._settings.max_limit))
        app = create_app(self._settings, contract, on_start=tune_process, metrics=metrics)
        # Without Connexion's FlaskApp, which would only pass each request on to its middleware.
        application = ProxyHeadersMiddleware(app.middleware, self.cfg.forwarded_allow_ips)
        if not self._settings.cors_origins:  # CORSMiddleware has to see each request
            cache, record = app.app.extensions[CACHE_EXTENSION], metrics.record_response if metrics else None
            HttpProtocol.cached_responses = CachedResponses(cache, application.apply, record)
        return application

    def _share_metrics(self) -> Path:
        """Create the folder in which all workers record metrics, which is removed when the master process stops."""
        from app.metrics.processes import remove_process  # noqa: PLC0415 prometheus-client takes a while to import

        try:
            folder = Path(mkdtemp(prefix="compute-images-metrics-"))  # only the owner can access it
        except OSError as error:
            raise InvalidSetting(f"IMAGES_METRICS=on needs a folder for temporary files: {error}") from error
        self._options["child_exit"] = lambda server, worker: remove_process(folder, worker.pid, server.WORKERS)
        self._options["on_exit"] = lambda _server: shutil.rmtree(folder, ignore_errors=True)
        return folder

    def _metrics(self, contract: Contract) -> "Metrics | None":
        """Return the metrics of this worker, None if they are off."""
        if self._metrics_folder is None:
            return None
        from app.middleware.metrics import Metrics  # noqa: PLC0415 as above

        return Metrics(self._metrics_folder, contract)


def _raise_open_files_limit() -> None:
    """Raise the soft limit of open files, which is often only 1024, up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
