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

_SETUPTOOLS = "setuptools==80.9.0"  # setuptools 82 lacks pkg_resources

# The clients, by the name of their script, with pinned dependencies. pip chooses the other dependencies.
PINS = {
    "libcloud": ("apache-libcloud==3.9.1",),
    "novaclient": ("python-novaclient==7.1.2", _SETUPTOOLS),
    "openstacksdk": ("openstacksdk==4.22.0",),
    "tempest": ("tempest==47.0.0",),
}
# Earlier versions, by the name of their script and their version: the oldest, and those that once failed.
EARLIER_SDKS = {
    f"openstacksdk {version}": (f"openstacksdk=={version}", _SETUPTOOLS) for version in ("0.13.0", "0.17.2", "0.27.1")
}
EARLIER_CLIENTS = {
    "libcloud 2.8.0": ("apache-libcloud==2.8.0",),
    "novaclient 2.17.0": ("python-novaclient==2.17.0", _SETUPTOOLS),
    "novaclient 5.1.0": ("python-novaclient==5.1.0", _SETUPTOOLS),
}
PACKAGES = PINS | EARLIER_SDKS | EARLIER_CLIENTS


# Python 3.10 removed a name that early versions of openstacksdk use.
_RUN = """
import collections.abc, runpy, sys
collections.MutableMapping = collections.abc.MutableMapping
runpy.run_module(sys.argv[1], run_name="__main__")
"""


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
    return environment(*PACKAGES[name])


@contextmanager
def running(name: str, folder: Path) -> Iterator[Client]:
    """Run a client until the end of the block; the folder is its home directory. Raises Missing."""
    script = name.split(maxsplit=1)[0]
    python = installed(name) / "bin" / "python"
    log = folder / f"{name}.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [python, "-c", _RUN, f"tests.integration.clients.scripts.{script}"],
            cwd=folder,
            env=variables(HOME=str(folder), PYTHONPATH=str(ROOT), NO_PROXY="127.0.0.1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        yield Client(script, process, log)  # it exits at the end of its input
