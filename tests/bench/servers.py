"""The measured servers: each in a process and session of its own, on loopback, with one worker."""

import http.client
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.bench import BenchError
from tests.integration.server.service import free_port, session

ROOT = Path(__file__).parent.parent.parent
HOST = "compute.example.com"  # all servers build links with it, so that responses can be compared

_TIMEOUT = 60.0  # seconds
_POLL_INTERVAL = 0.002  # seconds
_IDLE_INTERVAL = 0.1  # seconds: a server that uses no CPU time for so long is idle
_TICKS = os.sysconf("SC_CLK_TCK")  # of CPU time, in one second


class Spec(NamedTuple):
    """How a server is started, and its request. `{port}` stands for its port, `{n}` for a number that varies."""

    name: str
    command: tuple[str, ...]
    target: str
    environment: Mapping[str, str]
    headers: Mapping[str, str] = MappingProxyType({})

    @property
    def first_target(self) -> str:
        """The target of one of the requests."""
        return self.target.replace("{n}", "0")


class Server(NamedTuple):
    """A running server."""

    spec: Spec
    port: int
    pid: int
    start: float  # seconds from its command to its first response

    def get(self, target: str = "", **headers: str) -> "Response":
        """Send one request, by default for the target of the benchmark."""
        return _get(self.port, target or self.spec.first_target, {**self.spec.headers, **headers})

    @property
    def worker(self) -> int:
        """The process id of its only worker."""
        (worker,) = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(worker)

    def await_idle(self) -> float:
        """Wait until the server is idle. Return the CPU time that its processes have used so far, in seconds."""
        deadline = time.monotonic() + _TIMEOUT
        used, before = self._cpu_seconds(), -1.0
        while used != before:
            if time.monotonic() > deadline:
                raise BenchError(f"{self.spec.name} is still busy {_TIMEOUT:g} s after the last request")
            time.sleep(_IDLE_INTERVAL)
            used, before = self._cpu_seconds(), used
        return used

    def _cpu_seconds(self) -> float:
        """Return the CPU time of all processes in the session of the server, in seconds."""
        ticks = 0
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # the process has ended
                fields = status.read_text().rpartition(")")[2].split()
                session, user, system = (int(fields[number]) for number in (3, 11, 12))
                ticks += (user + system) if session == self.pid else 0
        return ticks / _TICKS


class Response(NamedTuple):
    """A response to one request."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@contextmanager
def running(spec: Spec, folder: Path) -> Iterator[Server]:
    """Run a server in a folder of its own until the end of the block. Raises BenchError if it does not respond."""
    home = folder / spec.name.replace(" ", "-")
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [word.replace("{port}", str(port)) for word in spec.command]
    variables = {"HOME": str(home), "PYTHONPATH": str(ROOT), **spec.environment}
    log = home / "log"
    begin = time.perf_counter()
    with log.open("wb") as output, session(command, home, variables, output=output.fileno()) as process:
        _await_response(spec, port, process, log)
        yield Server(spec, port, process.pid, time.perf_counter() - begin)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)


def _await_response(spec: Spec, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT
    status = 0
    while status != http.HTTPStatus.OK:
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{spec.name} does not respond with 200 (status {status}): {log.read_text()[-2000:]}")
        time.sleep(_POLL_INTERVAL)
        try:
            status = _get(port, spec.first_target, spec.headers).status
        except (OSError, http.client.HTTPException):
            continue


def _get(port: int, target: str, headers: Mapping[str, str]) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
    try:
        connection.request("GET", target, headers={"Host": HOST, **headers})
        response = connection.getresponse()
        return Response(response.status, response.getheaders(), response.read())
    finally:
        connection.close()
