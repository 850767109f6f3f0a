"""Clients in separate virtual environments and processes, which exchange JSON lines with the tests."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.server.service import environment as variables
from tests.support.packages import environment

ROOT = Path(__file__).parents[3]

# The clients, by the name of their script, with pinned dependencies. pip chooses the other dependencies.
PINS = {
    "libcloud": ("apache-libcloud==3.9.1",),
    "novaclient": ("python-novaclient==7.1.2", "setuptools==80.9.0"),  # setuptools 82 lacks pkg_resources
    "openstacksdk": ("openstacksdk==4.22.0",),
    "tempest": ("tempest==47.0.0",),
}


class ClientError(Exception):
    """An exception of the client: its class, the status and the message."""

    def __init__(self, name: str, status: int, message: str) -> None:
        super().__init__(name, status, message)


class Client:
    """A client in a separate process."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    def __call__(self, url: str, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Call an operation on an endpoint and return its result. Raises ClientError."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([url, operation, args, kwargs]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, f"{self.name} ended: {self._log.read_text()}"
        response = json.loads(line)
        if "error" in response:
            raise ClientError(*response["error"])
        return response["result"]


def installed(name: str) -> Path:
    """Return the virtual environment of a client, which is installed if need be. Raises Missing."""
    return environment(*PINS[name])


@contextmanager
def running(name: str, folder: Path) -> Iterator[Client]:
    """Run a client until the end of the block; the folder is its home directory. Raises Missing."""
    python = installed(name) / "bin" / "python"
    log = folder / f"{name}.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [python, "-m", f"tests.integration.clients.scripts.{name}"],
            cwd=folder,
            env=variables(HOME=str(folder), PYTHONPATH=str(ROOT), NO_PROXY="127.0.0.1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        yield Client(name, process, log)  # it exits at the end of its input
