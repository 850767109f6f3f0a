"""The process of the service, which ends when the process that started it ends."""

import os
import select
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

_START_TIMEOUT, _STOP_TIMEOUT = 30, 10  # seconds

# The service imports its package `app` from the folder that has it: in a checkout, this package is a part of it. The
# folder comes first on the path of the process, because a tool may have a package of the same name.
_MAIN = """
import sys
from importlib.util import find_spec
from pathlib import Path
spec = find_spec("compute_images_testing") or sys.exit(f"{sys.executable} has no compute-images")
package = Path(spec.origin).parent
sys.path.insert(0, str(package.parents[package.name != "compute_images_testing"]))
from app.server.fixture_process import main
main()
"""


class ServiceError(Exception):
    """The service could not be started, or has ended."""


class ServiceProcess:
    """A running service."""

    def __init__(self, python: str | Path | None) -> None:
        """Start it by an interpreter: None stands for COMPUTE_IMAGES_PYTHON, or this one. Raises ServiceError."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 closed by `stop`
        other = python or os.environ.get("COMPUTE_IMAGES_PYTHON")
        command = [other, "-E"] if other else [sys.executable]  # PYTHONPATH is that of this interpreter
        try:
            self._process = subprocess.Popen(  # noqa: S603 no input of others
                [*command, "-P", "-W", "ignore", "-c", _MAIN],
                bufsize=0,
                stdin=subprocess.PIPE,  # its end tells the service that this process has ended, however that happens
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C in a terminal interrupts the tests only
            )
        except OSError as error:
            self._log.close()
            raise ServiceError(f"compute-images did not start: {command[0]}: {error.strerror}") from None
        self._input, self._output = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        self.port = self._read_port()

    @property
    def log(self) -> str:
        """What the service has logged."""
        file = self._log.fileno()  # its position is that of the service, which must not change
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def stop(self) -> None:
        """Stop it."""
        with self._log, self._process, self._input, self._output:
            with suppress(BrokenPipeError):
                self._input.write(b"\n")  # a copy of this process may hold the pipe open, too
            try:
                self._process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _read_port(self) -> int:
        is_readable, _, _ = select.select([self._output], [], [], _START_TIMEOUT)
        line = self._output.readline() if is_readable else b""
        if not line:
            self._process.kill()
            self._process.wait()
            log = self.log
            self.stop()
            raise ServiceError(f"compute-images did not start:\n{log}")
        return int(line)
