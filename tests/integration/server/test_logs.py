"""The logs of a running service."""

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import SERVE, serving, session
from tests.integration.server.wire import Connection, fetch, request

TO_PIPE = ("sh", "-c", 'exec "$@" > access', "sh", *SERVE)
ERRORS_TO_PIPE = ("sh", "-c", 'exec "$@" 2> errors', "sh", *SERVE)
LONG = request(f"{LIST}?name={'x' * 16_000}")
COUNT = 700  # lines, which are longer than the pipe and the bound together


def test_access_log_into_pipe_that_is_not_read_loses_lines_but_no_requests(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "access")
    pipe = os.open(tmp_path / "access", os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(pipe, "rb") as access, serving(tmp_path, command=TO_PIPE, IMAGES_ACCESS_LOG="on") as service:
        with Connection(service.port) as connection:
            for _ in range(COUNT):
                assert connection.fetch(LONG).status == 200
        os.set_blocking(pipe, True)
        written = 0
        while b"lines were dropped" not in (line := access.readline()):
            written += 1
        assert b" WARNING app.access - " in line
        assert written + int(line.split()[4]) == COUNT


def test_stop_does_not_wait_for_the_reader_of_the_access_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "access")
    with (
        os.fdopen(os.open(tmp_path / "access", os.O_RDONLY | os.O_NONBLOCK)),
        serving(tmp_path, command=TO_PIPE, IMAGES_ACCESS_LOG="on") as service,
    ):
        with Connection(service.port) as connection:
            for _ in range(10):
                connection.fetch(LONG)
        service.terminate()
        assert service.wait() == 0


def test_stop_writes_all_lines_of_the_access_log(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2, IMAGES_ACCESS_LOG="on") as service:
        with Connection(service.port) as connection:
            for _ in range(100):
                connection.fetch(request(LIST))
        service.terminate()
        assert service.wait() == 0
        assert service.log.count(f" GET {LIST} 200 ") == 100


@pytest.mark.parametrize("is_read", [True, False])
def test_service_log_into_pipe_that_is_not_read_delays_neither_requests_nor_stop(tmp_path: Path, is_read: bool) -> None:
    os.mkfifo(tmp_path / "errors")
    settings = {"HOME": str(tmp_path), "WEB_CONCURRENCY": "1"}
    with (
        session(ERRORS_TO_PIPE, tmp_path, settings, output=subprocess.DEVNULL) as process,
        (tmp_path / "errors").open("rb", buffering=0) as errors,
    ):
        fcntl.fcntl(errors, fcntl.F_SETPIPE_SZ, 4096)
        started = b"".join(lines_up_to(b" serves ", errors))
        (port,) = map(int, re.findall(rb" at http://[0-9.]+:(\d+) with 1 worker\n", started))
        for _ in range(100):
            assert fetch(port, b"NONSENSE\r\n\r\n").status == 400
        process.terminate()
        if is_read:
            assert errors.read().count(b"Request rejected: Bad Request") == 100
        assert process.wait(20) == 0


def lines_up_to(last: bytes, log: BinaryIO) -> Iterator[bytes]:
    """Yield lines until one contains `last`."""
    for line in log:
        yield line
        if last in line:
            return
