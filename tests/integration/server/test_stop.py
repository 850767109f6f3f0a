"""Graceful shutdown: requests that were begun get complete responses. A killed worker is replaced."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest

from tests.integration.server.conftest import LIST, MANY
from tests.integration.server.load import load, reload
from tests.integration.server.service import COMMAND, SERVE, Service, run, serving, session, until
from tests.integration.server.wire import Connection, Response, fetch, request
from tests.support.images import catalog_of, image, image_id

SHUTDOWN_LIMIT = 10  # seconds

LARGE = request(f"{LIST}?limit={MANY}")
BATCH = [LARGE, request(f"{LIST}?limit=2"), request(f"{LIST}?limit=x"), request(f"{LIST}?limit=900")]
ORPHAN = """
import asyncio, concurrent.futures, threading
from uvicorn import Config
from app.server.backpressure import Buffers
from app.server.worker import WorkerServer
concurrent.futures.ThreadPoolExecutor().submit(threading.Event().wait)
asyncio.run(WorkerServer(Config(None, port=0, lifespan="off"), Buffers(), master=0).serve())
"""
STARTS_WHILE_NOT_BLOCKED = """
import os, time
from app.server.gunicorn import Server
from app.settings import Settings

class WaitingServer(Server):
    def load(self):
        while os.path.exists("blocked"):
            time.sleep(0.01)
        return super().load()

WaitingServer(Settings.from_env(os.environ), bind="127.0.0.1:0", workers=1).run()
"""
IDS = [image_id(number) for number in range(MANY)]


def is_complete(raw: bytes, response: Response) -> bool:
    """Return whether a response is complete and belongs to the request."""
    limit = raw.split()[1].rpartition(b"=")[2]
    if not limit.isdigit():
        return response.fault == (400, "badRequest")
    return response.images == IDS[: int(limit)]


def stopped(service: Service, began: float) -> tuple[int, bool]:
    """Wait for a service to exit; return its exit code and whether it took less than the limit."""
    return service.wait(), time.monotonic() - began < SHUTDOWN_LIMIT


class Client(threading.Thread):
    """Pipelines the same requests again and again until the server is closed."""

    def __init__(self, port: int, batch: Sequence[bytes]) -> None:
        super().__init__()
        self._port = port
        self._batch = batch
        self.batches = 0
        self.errors: list[object] = []

    def run(self) -> None:
        """Send requests until connections are rejected."""
        try:
            while True:
                try:
                    connection = Connection(self._port)
                except (ConnectionRefusedError, ConnectionResetError):
                    return
                with connection:
                    while self._exchange(connection):
                        pass
        except BaseException as error:  # noqa: BLE001 reported by the test
            self.errors.append(error)

    def _exchange(self, connection: Connection) -> bool:
        """Exchange one batch and return whether to continue. A connection may be closed between batches only."""
        try:
            connection.send(*self._batch)
        except (BrokenPipeError, ConnectionResetError):
            return False
        responses = [connection.receive_if_any() for _ in self._batch]
        if not any(responses):
            return False
        self.errors += [
            (raw, response)
            for raw, response in zip(self._batch, responses, strict=True)
            if response is None or not is_complete(raw, response)
        ]
        self.batches += 1
        last = responses[-1]
        return last is not None and last.headers.get("connection") != "close"


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06])
def test_sigterm_truncates_no_response(large_catalog: Path, tmp_path: Path, delay: float) -> None:
    with serving(tmp_path, workers=2, IMAGES_CATALOG=str(large_catalog)) as service:
        clients = [Client(service.port, batch) for batch in ([LARGE], BATCH, [BATCH[1]], [BATCH[-1]] * 2)]
        for client in clients:
            client.start()
        until(lambda: all(client.batches >= 2 for client in clients))
        time.sleep(delay)  # workers check ten times a second whether to stop
        service.terminate()
        assert stopped(service, time.monotonic()) == (0, True)
        for client in clients:
            client.join()
    assert [client.errors for client in clients] == [[]] * len(clients)
    assert service.errors == []


def test_sigterm_completes_requests_in_progress(large_catalog: Path, tmp_path: Path) -> None:
    batch = BATCH * 3
    with (
        serving(tmp_path, IMAGES_CATALOG=str(large_catalog), IMAGES_RESPONSE_CACHE_MB="0") as service,
        ExitStack() as stack,
    ):
        connections = [stack.enter_context(Connection(service.port)) for _ in range(9)]
        for connection in connections:
            assert connection.fetch(request("/nowhere")).status == 404
        *busy, last = connections
        for connection in busy:
            connection.send(*batch)
        assert last.fetch(request("/nowhere")).status == 404  # so that earlier requests have been read
        service.terminate()
        began = time.monotonic()
        responses = [[connection.receive() for _ in batch] for connection in busy]
        assert [connection.receive_if_any() for connection in connections] == [None] * len(connections)
        assert stopped(service, began) == (0, True)
    assert all(map(is_complete, batch * len(busy), chain.from_iterable(responses)))
    assert "close" in [each[-1].headers.get("connection") for each in responses], (
        "All responses were sent before the shutdown."
    )
    assert service.errors == []


def test_sigterm_completes_pipelined_requests_that_wait(large_catalog: Path, tmp_path: Path) -> None:
    count = 40  # more responses than the buffers of both sides can hold
    with serving(tmp_path, IMAGES_CATALOG=str(large_catalog)) as service, Connection(service.port) as connection:
        connection.send(*[LARGE] * count)
        connection.wait()
        service.terminate()
        until(lambda: "Shutting down" in service.log)
        responses = connection.receive_all()
        assert service.wait() == 0
    assert [response.images for response in responses] == [IDS] * count
    assert [response.headers.get("connection") for response in responses] == [None] * (count - 1) + ["close"]


def test_sigterm_lets_kept_connections_end_with_a_response(tmp_path: Path) -> None:
    with serving(tmp_path) as service, Connection(service.port) as connection:
        connection.fetch(request(LIST))
        service.terminate()
        until(lambda: "Waiting for connections to close" in service.log)
        assert connection.fetch(request(LIST)).headers["connection"] == "close"
        assert connection.receive_if_any() is None


ERRORS_ONLY = {"IMAGES_LOG_LEVEL": "error"}
DOUBLE = {"IMAGES_TEST_DOUBLE": "on"}


@pytest.mark.parametrize(
    ("number", "to_group", "others"),
    [
        *((signal.SIGTERM, False, others) for others in ({}, ERRORS_ONLY, DOUBLE)),
        *(
            (signal.SIGTERM, True, {}),
            (signal.SIGINT, False, {}),
            (signal.SIGINT, True, {}),
            (signal.SIGQUIT, False, {}),
        ),
        *((number, False, DOUBLE) for number in (signal.SIGINT, signal.SIGQUIT)),
    ],
)
def test_start_and_stop_are_one_line_each(tmp_path: Path, number: int, to_group: bool, others: dict[str, str]) -> None:
    catalog = str(catalog_of(tmp_path, image(1)))
    settings = {"HOME": str(tmp_path), "WEB_CONCURRENCY": "2", "IMAGES_CATALOG": catalog, **others}
    is_double = others == DOUBLE
    served = "one process, as a test double" if is_double else "2 workers"
    with (tmp_path / "log").open("w+b") as log, session(SERVE, tmp_path, settings, output=log.fileno()) as process:
        until(lambda: (tmp_path / "log").stat().st_size > 0)
        (os.killpg if to_group else os.kill)(process.pid, number)
        assert process.wait(SHUTDOWN_LIMIT) == 0
    name = f"INFO app.lifecycle - compute-images {version('compute-images')}"
    catalog = f"a copy of {catalog}" if is_double else catalog
    expected = rf"\S+Z {name} serves {catalog} at http://127.0.0.1:\d+ with {served}\n\S+Z {name} stopped\n"
    assert re.fullmatch(expected, (tmp_path / "log").read_text())


def test_sigterm_closes_idle_connections(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        idle, unused, unfinished = (Connection(service.port) for _ in range(3))
        with idle, unused, unfinished:
            unfinished.send(request(LIST)[:-2])
            assert idle.fetch(request("/nowhere")).status == 404
            service.terminate()
            assert stopped(service, time.monotonic()) == (0, True)
            assert [each.receive_if_any() for each in (idle, unused, unfinished)] == [None] * 3


def test_sighup_loses_no_request(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as service:
        with load(service.port, clients=4) as clients:
            for _ in range(2):
                reload(service, clients)
        assert [client.lost for client in clients] == [[]] * 4
        assert service.log.count(" reloaded with 2 workers\n") == 2
        assert service.errors == []


def test_sighup_with_unusable_catalog_keeps_old_workers(tmp_path: Path) -> None:
    catalog = tmp_path / "data" / "catalog.db"
    with serving(tmp_path, workers=2) as service:
        old = service.workers
        catalog.rename(catalog.with_suffix(".moved"))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "Reload failed: " in service.log)
        catalog.with_suffix(".moved").rename(catalog)
        assert [len(fetch(service.port, request(LIST)).images) for _ in range(10)] == [7] * 10
        assert [pid for pid in old if not Path(f"/proc/{pid}").exists()] == []


def test_sigterm_during_reload_does_not_wait_for_new_workers(large_catalog: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-c", STARTS_WHILE_NOT_BLOCKED)
    with serving(tmp_path, command=command, IMAGES_CATALOG=str(large_catalog)) as service:
        (tmp_path / "blocked").touch()
        service.process.send_signal(signal.SIGHUP)
        until(lambda: len(service.workers) == 2)
        assert fetch(service.port, request(LIST)).status == 200
        service.terminate()
        assert service.wait() == 0


def test_sigterm_reaches_workers_that_were_just_started(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as service:
        service.process.send_signal(signal.SIGHUP)
        service.terminate()

        assert service.wait() == 0


def test_sighup_during_reload_reloads_again(large_catalog: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-c", STARTS_WHILE_NOT_BLOCKED)
    with serving(tmp_path, command=command, IMAGES_CATALOG=str(large_catalog)) as service:
        (tmp_path / "blocked").touch()
        service.process.send_signal(signal.SIGHUP)
        until(lambda: len(service.workers) == 2)
        os.kill(service.workers[1], signal.SIGKILL)  # is replaced, too
        until(lambda: len(service.workers) == 3)
        service.process.send_signal(signal.SIGHUP)
        until(lambda: service.log.count("Handling signal: hup") == 2)
        (tmp_path / "blocked").unlink()
        until(lambda: f"Finished server process [{service.workers[2]}]" in service.log)
        assert len(service.workers) == 4
        assert fetch(service.port, request(LIST)).status == 200


def test_workers_stop_without_their_master_and_a_new_service_can_start_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as service, Connection(service.port) as connection:
        connection.fetch(request(LIST))
        service.process.kill()
        (tmp_path / "next").mkdir()
        with serving(tmp_path / "next", command=(COMMAND, "serve"), PORT=str(service.port)):
            assert fetch(service.port, request(LIST)).status == 200
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in service.workers))
        assert service.log.count("The master process is gone: this worker stops.") == 2


def test_orphan_does_not_wait_for_its_threads(tmp_path: Path) -> None:
    assert run(sys.executable, "-c", ORPHAN, folder=tmp_path).returncode == 0


def test_killed_worker_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as service:
        killed = service.workers[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: f"Worker (pid:{killed}) was sent SIGKILL!" in service.log)
        assert [len(fetch(service.port, request(LIST)).images) for _ in range(10)] == [7] * 10
        service.await_workers(3)
        assert [len(fetch(service.port, request(LIST)).images) for _ in range(10)] == [7] * 10
        service.terminate()
        assert service.wait() == 0


def test_other_workers_continue_if_a_killed_one_cannot_be_replaced(tmp_path: Path) -> None:
    folder, moved = tmp_path / "logs", tmp_path / "moved"
    folder.mkdir()
    with serving(tmp_path, workers=2, IMAGES_ACCESS_LOG_FILE=str(folder / "access.log")) as service:
        folder.rename(moved)
        os.kill(service.workers[0], signal.SIGKILL)
        until(lambda: "Worker failed to boot. The other workers continue." in service.log)
        assert fetch(service.port, request(LIST)).status == 200

        moved.rename(folder)
        service.await_workers(3)


@pytest.mark.parametrize("requests", [pytest.param(1, id="one"), pytest.param(4, id="pipelined")])
def test_client_that_disconnects_early_is_not_an_error(large_catalog: Path, tmp_path: Path, requests: int) -> None:
    with serving(tmp_path, IMAGES_CATALOG=str(large_catalog)) as service:
        for _ in range(20):
            with Connection(service.port) as connection:
                connection.send(*[LARGE] * requests)
                connection.wait()
    assert service.errors == []
