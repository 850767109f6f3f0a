"""A real Keystone, from its packages: in a process and a folder of its own, on SQLite."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shlex import join

import httpx2

from tests.images import Fields
from tests.kept import environment
from tests.server.service import environment as variables
from tests.server.service import free_port, until

PASSWORD = "secret"  # noqa: S105 everybody's

_HERE = Path(__file__).parent
_PATIENCE = 20  # seconds
_ALONE = httpx2.Limits(max_keepalive_connections=0)  # no request meets a connection that has ended meanwhile

# What outlives no test need not be on the disk, nor be hard to guess.
_CONFIGURATION = """
[DEFAULT]
public_endpoint = {origin}
[database]
connection = sqlite:///{folder}/keystone.db
sqlite_synchronous = false
[fernet_tokens]
key_repository = {folder}/tokens
[fernet_receipts]
key_repository = {folder}/receipts
[identity]
password_hash_rounds = 4
"""


class Keystone:
    """A Keystone, which can be stopped, and goes on with what it knew."""

    def __init__(self, folder: Path) -> None:
        """Install it, unless it was installed before, and prepare its folder. Raises Missing."""
        self._commands = environment("keystone", "gunicorn", constraints=_HERE / "constraints.txt") / "bin"
        self._folder = folder
        self._address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self._address}/v3"
        self._http = httpx2.Client(base_url=self.url, trust_env=False, limits=_ALONE, timeout=_PATIENCE)
        self._prepare()

    @property
    def requests(self) -> list[str]:
        """The method and the path of each request that came."""
        return (self._folder / "requests").read_text().splitlines()

    def ask(
        self, method: str, path: str, body: Fields | None = None, *, token: str = "", subject: str = ""
    ) -> httpx2.Response:
        """Ask its own API, with a token, and maybe about another."""
        headers = {"X-Auth-Token": token, "X-Subject-Token": subject}
        sent = {name: value for name, value in headers.items() if value}
        return self._http.request(method, path, json=body, headers=sent)

    @contextmanager
    def running(self, token_seconds: int = 3600) -> Iterator[None]:
        """Run it until the end of the block at the latest."""
        try:
            self.start(token_seconds)
            yield
        finally:
            self.stop()

    def start(self, token_seconds: int = 3600) -> None:
        """Start it, and wait until it answers."""
        served = join(["--config", str(_HERE / "serve_keystone.py"), "--bind", self._address])
        configuration = {"OS_KEYSTONE_CONFIG_DIR": str(self._folder), "OS_KEYSTONE_CONFIG_FILES": "keystone.conf"}
        option = {"OS_TOKEN__EXPIRATION": str(token_seconds)}
        with (self._folder / "requests").open("ab") as requests, (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._commands / "gunicorn"],
                cwd=self._folder,
                env=variables(GUNICORN_CMD_ARGS=served, **configuration, **option),
                stdin=subprocess.DEVNULL,
                stdout=requests,
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
    def restarted(self, token_seconds: int) -> Iterator[None]:
        """Have it give tokens of so many seconds until the end of the block."""
        with self.stopped(), self.running(token_seconds):
            yield

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Have it take connections, and not answer until the end of the block."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)  # gunicorn's master, and its worker

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return self.ask("GET", "").is_success
        except httpx2.TransportError:
            return False

    def _prepare(self) -> None:
        configuration = _CONFIGURATION.format(origin=f"http://{self._address}", folder=self._folder)
        (self._folder / "keystone.conf").write_text(configuration)
        with closing(sqlite3.connect(self._folder / "keystone.db")) as database:
            database.execute("PRAGMA journal_mode = wal")  # or it waits for itself, where it reads while it writes
        self._manage("db_sync")
        self._manage("fernet_setup", f"--keystone-user={os.geteuid()}", f"--keystone-group={os.getegid()}")
        endpoints = (f"--bootstrap-{interface}-url={self.url}" for interface in ("public", "internal", "admin"))
        self._manage("bootstrap", f"--bootstrap-password={PASSWORD}", "--bootstrap-region-id=RegionOne", *endpoints)

    def _manage(self, *words: str) -> None:
        command = [str(self._commands / "keystone-manage"), f"--config-file={self._folder}/keystone.conf", *words]
        with (self._folder / "log").open("ab") as log:
            subprocess.run(command, env=variables(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
