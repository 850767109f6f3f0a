"""Servers under measurement: each in a process and a session of its own, on loopback, with one worker."""

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.bench import BenchError
from tests.integration.server.service import environment, free_port

ROOT = Path(__file__).parent.parent.parent
HOST = "compute.example.com"  # the links of all answers begin with it, so that they can be compared

_PATIENCE = 60.0  # seconds
_BETWEEN_LOOKS = 0.002  # seconds


class Spec(NamedTuple):
    """How a server is started, and what it is asked. `{port}` stands for its port, `{n}` for a number that varies."""

    name: str
    command: tuple[str, ...]
    target: str
    environment: Mapping[str, str]
    headers: Mapping[str, str] = MappingProxyType({})

    @property
    def first(self) -> str:
        """One of the requests."""
        return self.target.replace("{n}", "0")


class Server(NamedTuple):
    """A server that answers."""

    spec: Spec
    port: int
    pid: int
    start: float  # seconds from its command to its first answer

    def get(self, target: str = "", **headers: str) -> "Answer":
        """Ask it once: what it is measured by, unless told."""
        return _get(self.port, target or self.spec.first, {**self.spec.headers, **headers})

    @property
    def worker(self) -> int:
        """The id of its only worker."""
        (worker,) = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(worker)


class Answer(NamedTuple):
    """What a server said to one request."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@contextmanager
def running(spec: Spec, folder: Path) -> Iterator[Server]:
    """Run a server in a folder of its own until the end of the block. Raises BenchError where it does not answer."""
    home = folder / spec.name.replace(" ", "-")
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [word.replace("{port}", str(port)) for word in spec.command]
    variables = environment(HOME=str(home), PYTHONPATH=str(ROOT), **spec.environment)
    log = home / "log"
    begin = time.perf_counter()
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=home,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            _await_answer(spec, port, process, log)
            yield Server(spec, port, process.pid, time.perf_counter() - begin)
        finally:
            _stop(process)


def _await_answer(spec: Spec, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    status = 0
    while status != http.HTTPStatus.OK:
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{spec.name} does not answer (status {status}): {log.read_text()[-2000:]}")
        time.sleep(_BETWEEN_LOOKS)
        try:
            status = _get(port, spec.first, spec.headers).status
        except (OSError, http.client.HTTPException):
            continue


def _get(port: int, target: str, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("GET", target, headers={"Host": HOST, **headers})
        response = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read())
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own session, and nobody else's
