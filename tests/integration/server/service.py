"""The service as users run it: the command, in a separate process and working directory."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.tether import tethered

COMMAND = str(Path(sysconfig.get_path("scripts")) / "compute-images")
SERVE = (COMMAND, "serve", "--bind", "127.0.0.1:0")

_TIMEOUT = 20.0  # seconds
_POLL_INTERVAL = 0.01  # seconds
_LOG_LINE = re.compile(r"\S+Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+ (-|req-[0-9a-f-]+) .*")
_SERVES = re.compile(r" serves (?:a copy of )?\S+ at http://[0-9.]+:(\d+) with ")
_SETTINGS = re.compile("IMAGES_.*|OS_.*|PORT|WEB_CONCURRENCY|GUNICORN_.*|XDG_RUNTIME_DIR")

_WITH_TIMEOUTS = """
import sys
from app import asgi
from app.cli import main
from app.server.http_protocol import HttpProtocol
HttpProtocol.head_timeout, asgi.BODY_TIMEOUT, HttpProtocol.write_timeout = map(float, sys.argv[1:])
main(["serve", "--bind", "127.0.0.1:0"])
"""


class Service:
    """A running `serve` with its output."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
        self.process = process
        self.folder = folder
        self.port = 0
        self._log = log

    @property
    def url(self) -> str:
        """The URL of the service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything written to standard output and standard error."""
        return self._log.read_text()

    @property
    def log_lines(self) -> list[str]:
        """The complete lines of the output: the service may be writing the rest."""
        return self.log.rpartition("\n")[0].splitlines()

    @property
    def printed(self) -> list[str]:
        """The lines of the output that are not log lines."""
        return [line for line in self.log_lines if not _LOG_LINE.fullmatch(line)]

    @property
    def errors(self) -> list[str]:
        """The log lines of level ERROR."""
        return [line for line in self.log.splitlines() if re.match(r"\S+Z ERROR ", line)]

    @property
    def workers(self) -> list[int]:
        """The process ids of all workers, in the order of their start."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)]

    def await_workers(self, count: int) -> None:
        """Wait until this many workers have started, including those that have exited."""
        until(lambda: self._has_started(count) or self.process.poll() is not None)
        assert self.process.poll() is None, self.log
        (self.port,) = map(int, _SERVES.findall(self.log))

    def _has_started(self, count: int) -> bool:
        return bool(_SERVES.search(self.log)) and self.log.count("Application startup complete.") >= count

    def terminate(self) -> None:
        """Send SIGTERM, as a supervisor does."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for the process to exit and return its exit code."""
        return self.process.wait(_TIMEOUT)


def with_timeouts(*, head: float, body: float, write: float) -> tuple[str, ...]:
    """Return a command that serves with these timeouts, in seconds."""
    return (sys.executable, "-c", _WITH_TIMEOUTS, *map(str, (head, body, write)))


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of this process with these variables and without the service's other settings."""
    return {name: value for name, value in os.environ.items() if not _SETTINGS.fullmatch(name)} | variables


def run(*command: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return run_slow(command, folder, variables, timeout=_TIMEOUT)


def run_slow(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], *, timeout: float
) -> "subprocess.CompletedProcess[str]":
    with session(command, folder, variables, output=subprocess.PIPE) as process:
        output, errors = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(command, process.returncode, output.decode(), errors.decode())


@contextmanager
def serving(folder: Path, *, command: Sequence[str] = SERVE, workers: int = 1, **variables: str) -> Iterator[Service]:
    """Serve in a working directory, which is also the home, until the end of the block."""
    log = folder / "log"
    settings = {"WEB_CONCURRENCY": str(workers), "IMAGES_ALLOWED_HOSTS": "*", "IMAGES_LOG_LEVEL": "debug"}
    variables = {"HOME": str(folder), **settings, **variables}
    with log.open("wb") as output, session(command, folder, variables, output=output.fileno()) as process:
        service = Service(process, folder, log)
        service.await_workers(workers)
        yield service
        if process.poll() is None:
            service.terminate()
            service.wait()


def free_port() -> int:
    """Return an unused port below those of outgoing connections, one of which could take it before it is bound."""
    while True:
        port = random.randrange(20_000, 32_768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "The condition is still false."
        time.sleep(_POLL_INTERVAL)


@contextmanager
def session(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], *, output: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a new session, whose processes are killed at the end of the block."""
    with subprocess.Popen(
        tethered(command),
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # workers would survive their parent
