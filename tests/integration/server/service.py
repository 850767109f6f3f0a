"""The service as its users run it: the command, in a process and a folder of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

COMMAND = str(Path(sysconfig.get_path("scripts")) / "compute-images")
SERVE = (COMMAND, "serve", "--bind", "127.0.0.1:0")

_PATIENCE = 20.0  # seconds
_BETWEEN_LOOKS = 0.01  # seconds
_OURS = re.compile("IMAGES_.*|OS_.*|PORT|WEB_CONCURRENCY|GUNICORN_.*|XDG_RUNTIME_DIR")

_IMPATIENT = """
import sys
from app import bodies, protocol
from app.cli import main
protocol.HEAD_IN, bodies.BODY_IN, protocol.ANSWER_OUT = map(float, sys.argv[1:])
main(["serve", "--bind", "127.0.0.1:0"])
"""


class Service:
    """A running `serve`, and what it said."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
        self.process = process
        self.folder = folder
        self.port = 0
        self._log = log

    @property
    def log(self) -> str:
        """All that it wrote."""
        return self._log.read_text()

    @property
    def said(self) -> list[str]:
        """What it wrote by itself, without the lines of gunicorn's log."""
        return [line for line in self.log.splitlines() if not line.startswith("[")]

    @property
    def workers(self) -> list[int]:
        """The ids of all workers that began to answer, in their order."""
        return [int(pid) for pid in re.findall(r"\[(\d+)\] \[INFO\] Application startup complete\.", self.log)]

    def await_workers(self, count: int) -> None:
        """Wait until so many workers have begun to answer, those that ended included."""
        until(lambda: len(self.workers) >= count or self.process.poll() is not None)
        assert self.process.poll() is None, self.log
        (self.port,) = map(int, re.findall(r"Listening at: http://[0-9.]+:(\d+)", self.log))

    def terminate(self) -> None:
        """Ask it to stop, as a supervisor does."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end, and give its exit code."""
        return self.process.wait(_PATIENCE)


def impatient(*, head_in: float, body_in: float, answer_out: float) -> tuple[str, ...]:
    """Give the command that serves with other deadlines than its own, in seconds."""
    return (sys.executable, "-c", _IMPATIENT, *map(str, (head_in, body_in, answer_out)))


def environment(**variables: str) -> dict[str, str]:
    """Give the variables of this process without the service's settings, and some of one's own."""
    return {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)} | variables


def run(*command: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    with session(command, folder, variables, output=subprocess.PIPE) as process:
        output, errors = process.communicate(timeout=_PATIENCE)
    return subprocess.CompletedProcess(command, process.returncode, output.decode(), errors.decode())


@contextmanager
def serving(folder: Path, *, command: Sequence[str] = SERVE, workers: int = 1, **variables: str) -> Iterator[Service]:
    """Serve in a folder, which is the home as well, until the end of the block at the latest."""
    log = folder / "log"
    variables = {"HOME": str(folder), "WEB_CONCURRENCY": str(workers)} | variables
    with log.open("wb") as output, session(command, folder, variables, output=output.fileno()) as process:
        service = Service(process, folder, log)
        service.await_workers(workers)
        yield service
        if process.poll() is None:
            service.terminate()
            service.wait()


def free_port() -> int:
    """Find a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "Waited too long."
        time.sleep(_BETWEEN_LOOKS)


@contextmanager
def session(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], *, output: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own, of which nothing is left after the block."""
    with subprocess.Popen(
        command,
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
                os.killpg(process.pid, signal.SIGKILL)  # workers do not notice when their master is killed
