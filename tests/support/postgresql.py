"""Private PostgreSQL clusters, each with its own folder and port. They stop with their block, or with the test run."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from select import select
from tempfile import mkdtemp
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from tests.integration.server.service import free_port, until
from tests.support.packages import Missing
from tests.support.tether import tethered

USER = PASSWORD = "postgres"  # noqa: S105 of the superuser

_TIMEOUT = 20  # seconds
_STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# The default collation does not order texts by their bytes, so that tests notice SQL that depends on it.
_INITDB = ("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en", "--no-sync")


@cache
def programs() -> Path:
    """Return the folder of PostgreSQL's programs: Debian's newest version, or that of pg_config. Raises Missing."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    for initdb in sorted(versions, key=lambda path: int(path.parts[-3]), reverse=True):
        return initdb.parent
    try:
        found = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        raise Missing("the PostgreSQL server is not installed") from None
    if not (folder := Path(found.stdout.strip())).joinpath("initdb").exists():
        raise Missing(f"{folder} has no initdb: the PostgreSQL server is not installed")
    return folder


def _user() -> list[str]:
    """Return the options of setpriv that change the user: PostgreSQL does not run as root."""
    return ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


class Cluster:
    """A server, and the databases that it manages. The superuser has the name and the password `postgres`."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.port = free_port()
        self.folder = folder  # with the data, the socket and the log
        self.settings = settings
        self._standbys: list[Cluster] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = count(1)

    @property
    def log(self) -> str:
        """Everything that the server logged."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def url(
        self, database: str = "postgres", *others: "Cluster", user: str = USER, password: str = "", **parameters: object
    ) -> str:
        """Return the URL of a database, over TCP. Other clusters are further hosts."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in (self, *others))
        secret = f":{quote(password, safe='')}" if password else ""
        query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
        return f"postgresql://{user}{secret}@{hosts}/{database}{query}"

    def execute(self, sql: str, *parameters: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute SQL as the superuser, through the socket, and return the rows."""
        folder = str(self.folder)
        with psycopg.connect(host=folder, port=self.port, user=USER, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, template: str = "template0") -> str:
        """Create a database, by default an empty one, and return its name. The template must have no connections."""
        name = f"test{next(self._databases)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def empty_database(self, name: str, how: str = "DROP SCHEMA public CASCADE; CREATE SCHEMA public") -> None:
        """Close all connections to a database and drop its contents, which is faster than creating another database."""
        others = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        terminate = f"DO $$ BEGIN PERFORM pg_terminate_backend(pid, {_TIMEOUT * 1000}) FROM {others}; END $$"
        self.execute(f"{terminate}; {how}", database=name)

    def start(self, **settings: object) -> None:
        """Start the server, with further settings until it stops, and wait until it accepts connections."""
        socket = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder}
        options = [f"--{name}={value}" for name, value in {**socket, **self.settings, **settings}.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                tethered(
                    [str(programs() / "postgres"), "-D", str(self.folder / "data"), *options], *_user(), signal="QUIT"
                ),
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(lambda: self._accepts() or self._has_exited())
        assert not self._has_exited(), self.log

    def _accepts(self) -> bool:
        command = [str(programs() / "pg_isready"), "--quiet", f"--host={self.folder}", f"--port={self.port}"]
        return subprocess.run(command, env=_environment(), check=False).returncode == 0

    def _has_exited(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it is running. Both modes close all connections; `immediate` skips the checkpoint."""
        if not self._has_exited():
            assert self._process is not None
            self._process.send_signal(_STOP_SIGNALS[mode])
            self._process.wait(_TIMEOUT)

    def kill(self) -> None:
        """Kill all processes of the server, as when its machine fails. Linux only."""
        backends = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for pid in (self.pid, *map(int, backends)):
            with suppress(ProcessLookupError), open(os.pidfd_open(pid)) as process:  # noqa: PTH123 a descriptor
                signal.pidfd_send_signal(process.fileno(), signal.SIGKILL)
                select([process], [], [], _TIMEOUT)  # until it has ended
        assert self._process is not None
        self._process.wait(_TIMEOUT)

    def standby(self, **settings: object) -> "Cluster":
        """Start a server that replicates this one continuously, until this one is closed."""
        standby = Cluster(_new_folder(), {**self.settings, **settings})
        self._standbys.append(standby)
        source = (f"--host={self.folder}", f"--port={self.port}", f"--username={USER}")
        _run("pg_basebackup", *source, f"--pgdata={standby.folder}/data", "--write-recovery-conf", "--checkpoint=fast")
        standby.start()
        return standby

    def promote(self) -> None:
        """Make a standby the primary, and wait until it accepts writes."""
        self.execute("SELECT pg_promote(true, %s)", _TIMEOUT)

    def close(self) -> None:
        """Stop the server and its standbys, and remove their folders."""
        for standby in self._standbys:
            standby.close()
        self.stop("immediate")
        shutil.rmtree(self.folder)


@contextmanager
def cluster(*, auth: str = "trust", durable: bool = False, **settings: object) -> Iterator[Cluster]:
    """Run a new cluster until the end of the block. `auth` is the method for connections over TCP. Raises Missing.

    Unless it is durable, it does not wait for the disk, and would lose data if the machine failed.
    """
    programs()
    server = Cluster(_new_folder(), {**({} if durable else _NOT_DURABLE), **settings})
    try:
        _create(server.folder, auth)
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def stored_cluster(folder: Path) -> Iterator[Cluster]:
    """Run a durable cluster until the end of the block; its folder remains for the next run. Raises Missing."""
    programs()
    server = Cluster(_owned(folder), {})
    try:
        if not folder.joinpath("data").exists():
            _create(folder, "trust")
        server.start()
        yield server
    finally:
        server.stop()


def _create(folder: Path, auth: str) -> None:
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)  # the folder is private
    authentication = ("--auth-local=trust", f"--auth-host={auth}", f"--username={USER}", f"--pwfile={secret}")
    _run("initdb", f"--pgdata={folder}/data", *_INITDB, *authentication)


def _new_folder() -> Path:
    return _owned(Path(mkdtemp(prefix="compute-images-postgresql-")))


def _owned(folder: Path) -> Path:
    """Create a folder if necessary, make the user who runs PostgreSQL its owner, and return it. Raises Missing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        try:
            shutil.chown(folder, "postgres", "postgres")
        except LookupError:
            folder.rmdir()
            raise Missing("PostgreSQL does not run as root, and there is no user postgres") from None
    return folder


def _run(program: str, *arguments: str) -> None:
    command = tethered([str(programs() / program), *arguments], *_user())
    result = subprocess.run(command, cwd="/", env=_environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def _environment() -> dict[str, str]:
    """Return the environment of PostgreSQL's programs, without the variables that configure them."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
