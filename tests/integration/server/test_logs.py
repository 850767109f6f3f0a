"""The logs of a running service."""

import fcntl
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import SERVE, Service, run, serving, session, until
from tests.integration.server.wire import Connection, fetch, request

TO_OUTPUT = {"command": ("sh", "-c", 'exec "$@" > access', "sh", *SERVE), "IMAGES_ACCESS_LOG": "on"}
TO_FILE = {"IMAGES_ACCESS_LOG_FILE": "access"}
ERRORS_TO_PIPE = ("sh", "-c", 'exec "$@" 2> errors', "sh", *SERVE)
LONG = request(f"{LIST}?name={'x' * 16_000}")
COUNT = 700  # lines, which are longer than the pipe and the bound together


@pytest.mark.parametrize("settings", [TO_OUTPUT, TO_FILE], ids=["output", "file"])
def test_access_log_into_pipe_that_is_not_read_loses_lines_but_no_requests(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    os.mkfifo(tmp_path / "access")
    pipe = os.open(tmp_path / "access", os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(pipe, "rb") as access, serving(tmp_path, **settings) as service:
        with Connection(service.port) as connection:
            for _ in range(COUNT):
                assert connection.fetch(LONG).status == 200
        os.set_blocking(pipe, True)
        written = 0
        while b"lines were dropped" not in (line := access.readline()):
            written += 1
        assert b" WARNING app.access - " in line
        assert written + int(line.split()[4]) == COUNT


@pytest.mark.parametrize("settings", [TO_OUTPUT, TO_FILE], ids=["output", "file"])
def test_stop_does_not_wait_for_the_reader_of_the_access_log(tmp_path: Path, settings: dict[str, Any]) -> None:
    os.mkfifo(tmp_path / "access")
    with (
        os.fdopen(os.open(tmp_path / "access", os.O_RDONLY | os.O_NONBLOCK)),
        serving(tmp_path, **settings) as service,
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


def test_debug_log_shows_neither_the_servers_configuration_nor_errors_of_a_normal_stop(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        pass
    assert "Arbiter booted" in service.log
    assert re.findall("Current configuration|Errno", service.log) == []


def test_sigusr1_reopens_the_file_of_the_access_log_in_all_workers(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    with serving(tmp_path, workers=2, IMAGES_ACCESS_LOG_FILE=str(file)) as service:
        with ExitStack() as stack:
            connections = [stack.enter_context(Connection(service.port)) for _ in range(10)]  # to both workers
            send_all(connections)
            until(lambda: logged(file) == 10)
            file.rename(tmp_path / "access.log.1")
            service.process.send_signal(signal.SIGUSR1)
            until(lambda: open_files(service, file) == 2)
            send_all(connections)
            until(lambda: logged(file) == 10)
        assert logged(tmp_path / "access.log.1") == 10
    assert fields(file) == {"127.0.0.1 203.0.113.1"}
    assert f" GET {LIST} " not in service.log


def test_sigusr1_reopens_the_file_of_the_access_log_of_a_test_double(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    with (
        serving(tmp_path, IMAGES_TEST_DOUBLE="on", IMAGES_ACCESS_LOG_FILE=str(file)) as service,
        Connection(service.port) as connection,
    ):
        send_all([connection])
        until(lambda: logged(file) == 1)
        file.rename(tmp_path / "access.log.1")
        service.process.send_signal(signal.SIGUSR1)
        until(file.exists)
        send_all([connection])
        until(lambda: logged(file) == 1)
    assert fields(file) == {"127.0.0.1 203.0.113.1"}


def send_all(connections: list[Connection]) -> None:
    for connection in connections:
        assert connection.fetch(request(LIST, "X-Forwarded-For: 203.0.113.1")).status == 200


def logged(file: Path) -> int:
    return file.read_text().count(f" GET {LIST} 200 ")


def fields(file: Path) -> set[str]:
    """Return the addresses in the lines of an access log."""
    return {" ".join(line.split()[-2:]) for line in file.read_text().splitlines()}


def open_files(service: Service, file: Path) -> int:
    """Return how many workers have a file open."""
    return sum(
        any(os.path.realpath(each) == str(file) for each in Path(f"/proc/{pid}/fd").iterdir())
        for pid in service.workers
    )


def test_named_pipe_that_nobody_reads_prevents_start(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ended = run(*SERVE, folder=tmp_path, IMAGES_ACCESS_LOG_FILE=str(pipe))
    message = f"Error: IMAGES_ACCESS_LOG_FILE is '{pipe}', which cannot be written: No such device or address"
    assert (ended.returncode, ended.stdout, ended.stderr.splitlines()[-1]) == (1, "", message)


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
