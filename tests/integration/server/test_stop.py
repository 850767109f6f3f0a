"""How the service stops: what it has begun is answered whole. And how it goes on when a worker is killed."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest

from tests.integration.server.conftest import LIST, MANY
from tests.integration.server.service import Service, serving, until
from tests.integration.server.wire import Answer, Connection, ask, request
from tests.support.images import image_id

SOON = 10  # seconds

LARGE = request(f"{LIST}?limit={MANY}")
BATCH = [LARGE, request(f"{LIST}?limit=2"), request(f"{LIST}?limit=x"), request(f"{LIST}?limit=900")]
IDS = [image_id(number) for number in range(MANY)]


def is_whole(raw: bytes, answer: Answer) -> bool:
    """Tell whether an answer is all of the right one."""
    limit = raw.split()[1].rpartition(b"=")[2]
    if not limit.isdigit():
        return answer.fault == (400, "badRequest")
    return answer.images == IDS[: int(limit)]


def stopped(service: Service, began: float) -> tuple[int, bool]:
    """Wait for the end of a service; give its exit code, and whether it came soon."""
    return service.wait(), time.monotonic() - began < SOON


class Client(threading.Thread):
    """Sends the same requests at once, again and again, until nobody listens."""

    def __init__(self, port: int, batch: Sequence[bytes]) -> None:
        super().__init__()
        self._port = port
        self._batch = batch
        self.answered = 0
        self.wrong: list[object] = []

    def run(self) -> None:
        """Go on until no connection is taken any more."""
        try:
            while True:
                try:
                    connection = Connection(self._port)
                except (ConnectionRefusedError, ConnectionResetError):
                    return
                with connection:
                    while self._goes_on(connection):
                        pass
        except BaseException as error:  # noqa: BLE001 the test is to see it
            self.wrong.append(error)

    def _goes_on(self, connection: Connection) -> bool:
        """Have one batch answered. A connection may end before a batch, and after one, but not within."""
        try:
            connection.send(*self._batch)
        except (BrokenPipeError, ConnectionResetError):
            return False
        answers = [connection.receive_if_any() for _ in self._batch]
        if not any(answers):
            return False
        self.wrong += [
            (raw, answer)
            for raw, answer in zip(self._batch, answers, strict=True)
            if answer is None or not is_whole(raw, answer)
        ]
        self.answered += 1
        last = answers[-1]
        return last is not None and last.headers.get("connection") != "close"


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06])
def test_sigterm_cuts_no_answer_short(large_catalog: Path, tmp_path: Path, delay: float) -> None:
    with serving(tmp_path, workers=2, IMAGES_CATALOG=str(large_catalog)) as service:
        clients = [Client(service.port, batch) for batch in ([LARGE], BATCH, [BATCH[1]], [BATCH[-1]] * 2)]
        for client in clients:
            client.start()
        until(lambda: all(client.answered >= 2 for client in clients))
        time.sleep(delay)  # workers look ten times a second whether they are to stop
        service.terminate()
        assert stopped(service, time.monotonic()) == (0, True)
        for client in clients:
            client.join()
    assert [client.wrong for client in clients] == [[]] * len(clients)
    assert "[ERROR]" not in service.log


def test_sigterm_leaves_no_request_unanswered_that_was_begun(large_catalog: Path, tmp_path: Path) -> None:
    batch = BATCH * 3
    with (
        serving(tmp_path, IMAGES_CATALOG=str(large_catalog), IMAGES_ANSWERS_MB="0") as service,
        ExitStack() as open_ones,
    ):
        connections = [open_ones.enter_context(Connection(service.port)) for _ in range(9)]
        for connection in connections:
            assert connection.ask(request("/nowhere")).status == 404
        *busy, last = connections
        for connection in busy:
            connection.send(*batch)
        assert last.ask(request("/nowhere")).status == 404  # what was sent before it was read by now
        service.terminate()
        began = time.monotonic()
        answers = [[connection.receive() for _ in batch] for connection in busy]
        assert [connection.receive_if_any() for connection in connections] == [None] * len(connections)
        assert stopped(service, began) == (0, True)
    assert all(map(is_whole, batch * len(busy), chain.from_iterable(answers)))
    assert "close" in [each[-1].headers.get("connection") for each in answers], "All was answered before the end."
    assert "[ERROR]" not in service.log


def test_sigterm_ends_connections_on_which_nothing_was_begun(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        idle, unused, unfinished = (Connection(service.port) for _ in range(3))
        with idle, unused, unfinished:
            unfinished.send(request(LIST)[:-2])
            assert idle.ask(request("/nowhere")).status == 404
            service.terminate()
            assert stopped(service, time.monotonic()) == (0, True)
            assert [each.receive_if_any() for each in (idle, unused, unfinished)] == [None] * 3


def test_the_service_goes_on_when_a_worker_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2) as service:
        killed = service.workers[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: f"Worker (pid:{killed}) was sent SIGKILL!" in service.log)
        assert [len(ask(service.port, request(LIST)).images) for _ in range(10)] == [7] * 10
        service.await_workers(3)
        assert [len(ask(service.port, request(LIST)).images) for _ in range(10)] == [7] * 10
        service.terminate()
        assert service.wait() == 0


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param(1, id="that it asked for"),
        pytest.param(
            4,
            id="with more to come",
        ),
    ],
)
def test_a_client_that_does_not_wait_for_its_answer_is_no_error(
    large_catalog: Path, tmp_path: Path, requests: int
) -> None:
    with serving(tmp_path, IMAGES_CATALOG=str(large_catalog)) as service:
        for _ in range(20):
            with Connection(service.port) as connection:
                connection.send(*[LARGE] * requests)
                connection.wait()
    assert "[ERROR]" not in service.log
