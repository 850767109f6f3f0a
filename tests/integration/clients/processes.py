"""Clients that need an environment of their own: each runs in a process, and is asked line by line."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.server.service import environment as variables
from tests.support.packages import environment

ROOT = Path(__file__).parents[3]

# The clients, by the names of their scripts. What they need beside is pip's to choose, but for what is said here.
PINS = {
    "libcloud": ("apache-libcloud==3.9.1",),
    "novaclient": ("python-novaclient==7.1.2", "setuptools==80.9.0"),  # it imports pkg_resources, which 82 lacks
    "openstacksdk": ("openstacksdk==4.22.0",),
    "tempest": ("tempest==47.0.0",),
}


class Refused(Exception):
    """A client's own error for an answer: its class, the status, and what it tells."""

    def __init__(self, name: str, status: int, message: str) -> None:
        super().__init__(name, status, message)


class Client:
    """A client in a process of its own."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    def __call__(self, url: str, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Call an operation at an endpoint, and give what it tells. Raises Refused."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([url, operation, args, kwargs]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, f"{self.name} ended: {self._log.read_text()}"
        answer = json.loads(line)
        if "refused" in answer:
            raise Refused(*answer["refused"])
        return answer["told"]


@contextmanager
def running(name: str, folder: Path) -> Iterator[Client]:
    """Run a client until the end of the block, in a folder that is its home as well. Raises Missing."""
    python = environment(*PINS[name]) / "bin" / "python"
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
        yield Client(name, process, log)  # it ends with its input
