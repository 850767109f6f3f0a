"""A component of OpenStack, from its package: in a process and a folder of its own, on SQLite."""

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

_HERE = Path(__file__).parent
_PATIENCE = 20  # seconds
_ALONE = httpx2.Limits(max_keepalive_connections=0)  # no request meets a connection that has ended meanwhile


class Component:
    """A component, which can be stopped, and goes on with what it knew."""

    def __init__(self, name: str, application: str, folder: Path) -> None:
        """Install all components, unless they were installed before, and prepare a folder for one. Raises Missing."""
        self._installed = environment("keystone", "glance", "gunicorn", constraints=_HERE / "constraints.txt")
        self._name = name
        self._folder = folder
        self._address = f"127.0.0.1:{free_port()}"
        self._log, self._requests = folder / "log", folder / "requests"
        self._requests.touch()
        served = {"APPLICATION": application, "REQUESTS": str(self._requests)}
        self._served = served | {f"OS_{name.upper()}_CONFIG_DIR": str(folder)}
        self.origin = f"http://{self._address}"
        self.database = folder / f"{name}.db"
        self._http = httpx2.Client(trust_env=False, limits=_ALONE, timeout=_PATIENCE)

    @property
    def requests(self) -> list[str]:
        """The method, the path and the query of each request that came."""
        return self._requests.read_text().splitlines()

    @contextmanager
    def running(self, **options: str) -> Iterator[None]:
        """Run it until the end of the block at the latest."""
        try:
            self.start(**options)
            yield
        finally:
            self.stop()

    def start(self, **options: str) -> None:
        """Start it, maybe with other options than its file has, and wait until it answers."""
        served = join(["--config", str(_HERE / "serve.py"), "--bind", self._address])
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._installed / "bin" / "gunicorn"],
                cwd=self._folder,
                env=variables(GUNICORN_CMD_ARGS=served, **self._served, **options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers)

    def stop(self) -> None:
        """Stop it at once, unless it ended by itself."""
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it refuse connections until the end of the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Have it take connections, and not answer until the end of the block."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    @contextmanager
    def _restarted(self, **options: str) -> Iterator[None]:
        """Have it run with other options until the end of the block."""
        with self.stopped(), self.running(**options):
            yield

    def _request(self, method: str, path: str, headers: Mapping[str, str], **body: Any) -> httpx2.Response:
        """Ask it something, without the headers that are empty."""
        sent = {name: value for name, value in headers.items() if value}
        return self._http.request(method, f"{self.origin}{path}", headers=sent, **body)

    def _configure(self, file: str, configuration: str, **values: object) -> None:
        """Write its file, and make its database."""
        self._file = self._folder / file
        self._file.write_text(configuration.format(origin=self.origin, folder=self._folder, **values))
        with closing(sqlite3.connect(self.database)) as database:
            database.execute("PRAGMA journal_mode = wal")  # or it waits for itself, where it reads while it writes
        self._manage("db_sync")

    def _manage(self, *words: str) -> None:
        command = [str(self._installed / "bin" / f"{self._name}-manage"), f"--config-file={self._file}", *words]
        with self._log.open("ab") as log:
            subprocess.run(command, env=variables(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return (
                self._request("GET", "/", {}).status_code == HTTPStatus.MULTIPLE_CHOICES
            )  # of the versions of its API
        except httpx2.TransportError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)  # gunicorn's master, and its worker
