"""A component of OpenStack, installed from its package: a process with a folder and a SQLite database of its own."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from shlex import join
from typing import Any

import httpx2

from tests.integration.server.service import environment as variables
from tests.integration.server.service import free_port, until
from tests.support.packages import environment
from tests.support.tether import tethered

_HERE = Path(__file__).parent
_TIMEOUT = 20  # seconds
_NO_KEEPALIVE = httpx2.Limits(max_keepalive_connections=0)  # a restart would break idle connections


def installed() -> Path:
    """Return the virtual environment of all components, which are installed if need be. Raises Missing."""
    return environment("keystone", "glance", "gunicorn", constraints=_HERE / "constraints.txt")


class Component:
    """A component that can be stopped and started again with the same data."""

    def __init__(self, name: str, application: str, folder: Path) -> None:
        """Install all components if need be, and prepare a folder for one. Raises Missing."""
        self._installed = installed()
        self._name = name
        self._folder = folder
        self._address = f"127.0.0.1:{free_port()}"
        self._log, self._requests = folder / "log", folder / "requests"
        self._requests.touch()
        settings = {"APPLICATION": application, "REQUESTS": str(self._requests)}
        self._settings = settings | {f"OS_{name.upper()}_CONFIG_DIR": str(folder)}
        self.origin = f"http://{self._address}"
        self.database = folder / f"{name}.db"
        self._http = httpx2.Client(trust_env=False, limits=_NO_KEEPALIVE, timeout=_TIMEOUT)

    @property
    def requests(self) -> list[str]:
        """Return the method, path and query of each request."""
        return self._requests.read_text().splitlines()

    @contextmanager
    def running(self, **options: str) -> Iterator[None]:
        """Run the component until the end of the block at the latest."""
        try:
            self.start(**options)
            yield
        finally:
            self.stop()

    def start(self, **options: str) -> None:
        """Start the component, with options that override its file, and wait until it responds."""
        arguments = join(["--config", str(_HERE / "serve.py"), "--bind", self._address])
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                tethered([str(self._installed / "bin" / "gunicorn")]),
                cwd=self._folder,
                env=variables(GUNICORN_CMD_ARGS=arguments, **self._settings, **options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._responds)

    def stop(self) -> None:
        """Kill the process if it is running."""
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the component until the end of the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend the process until the end of the block: connections are accepted, but requests are not served."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    @contextmanager
    def _restarted(self, **options: str) -> Iterator[None]:
        """Run the component with other options until the end of the block."""
        with self.stopped(), self.running(**options):
            yield

    def _request(self, method: str, path: str, headers: Mapping[str, str], **body: Any) -> httpx2.Response:
        """Send a request, without the headers that are empty."""
        set_headers = {name: value for name, value in headers.items() if value}
        return self._http.request(method, f"{self.origin}{path}", headers=set_headers, **body)

    def _configure(self, file: str, configuration: str, **values: object) -> None:
        """Write the configuration file, and create the database."""
        self._file = self._folder / file
        self._file.write_text(configuration.format(origin=self.origin, folder=self._folder, **values))
        with closing(sqlite3.connect(self.database)) as database:
            # In another mode, the component would block itself when it reads during a write.
            database.execute("PRAGMA journal_mode = wal")
        self._manage("db_sync")

    def _manage(self, *arguments: str) -> None:
        command = [str(self._installed / "bin" / f"{self._name}-manage"), f"--config-file={self._file}", *arguments]
        with self._log.open("ab") as log:
            subprocess.run(command, env=variables(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)

    def _responds(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            # The root lists the versions of the API.
            return self._request("GET", "/", {}).status_code == HTTPStatus.MULTIPLE_CHOICES
        except httpx2.TransportError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)  # gunicorn's master, and its worker
