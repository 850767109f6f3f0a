"""Clients that count lost requests, while workers are replaced.

`python -m tests.integration.server.load` prints how many were lost in twenty reloads and twenty kills of workers.
"""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path

from tests.integration.server.service import Service, serving, until
from tests.integration.server.wire import Connection, request

_LISTENS = "0A"  # the state of a socket in /proc/net/tcp
_REQUEST = request("/v2/openstack/images/detail?limit=2")


class Client(threading.Thread):
    """Sends one request after the other until it is stopped."""

    def __init__(self, port: int, *, keep_alive: bool) -> None:
        super().__init__()
        self._port = port
        self._keep_alive = keep_alive
        self._is_stopped = threading.Event()
        self.sent = 0
        self.lost: list[str] = []

    def run(self) -> None:
        """Send requests, on one connection as long as the server allows it, or each on a connection of its own."""
        while not self._is_stopped.is_set():
            try:
                with Connection(self._port) as connection:
                    while self._fetch(connection) and self._keep_alive and not self._is_stopped.is_set():
                        pass
            except (OSError, AssertionError) as error:
                self.lost.append(repr(error))

    def stop(self) -> None:
        """Stop after the current request."""
        self._is_stopped.set()
        self.join()

    def _fetch(self, connection: Connection) -> bool:
        """Send a request and return whether the connection stays open."""
        self.sent += 1
        response = connection.fetch(_REQUEST)
        assert response.status == HTTPStatus.OK, response
        return response.headers.get("connection") != "close"


@contextmanager
def load(port: int, clients: int) -> Iterator[list[Client]]:
    """Let clients with fresh and with kept connections send requests until the end of the block."""
    running = [Client(port, keep_alive=number % 2 == 0) for number in range(clients)]
    with ExitStack() as stack:
        for client in running:
            client.start()
            stack.callback(client.stop)
        yield running


def reload(service: Service, clients: list[Client]) -> int:
    """Replace the workers, and wait until the old ones are gone and all clients have sent more requests.

    Return how many connections may be lost: none.
    """
    old = service.workers
    service.process.send_signal(signal.SIGHUP)
    until(lambda: all(f"Finished server process [{pid}]" in service.log for pid in old))
    await_requests(clients)
    return 0


def kill(service: Service, clients: list[Client]) -> int:
    """Kill the oldest worker, and wait until it is replaced. Return how many connections it had."""
    started = service.log.count("Application startup complete.")
    pid = service.workers[started - 2]
    os.kill(pid, signal.SIGSTOP)  # it accepts no more connections while they are counted
    connections = len(socket_inodes(pid) & connected_inodes())
    os.kill(pid, signal.SIGKILL)
    service.await_workers(started + 1)
    await_requests(clients)
    return connections


def socket_inodes(pid: int) -> set[str]:
    """Return the inodes of the sockets that a process has."""
    targets = (str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir())
    return {target[len("socket:[") : -1] for target in targets if target.startswith("socket:[")}


def connected_inodes() -> set[str]:
    """Return the inodes of the TCP sockets that do not listen, of all processes."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] != _LISTENS}


def await_requests(clients: list[Client]) -> None:
    """Wait until every client has sent ten more requests."""
    before = [client.sent for client in clients]
    until(lambda: all(client.sent > sent + 10 for client, sent in zip(clients, before, strict=True)))


def main(rounds: int = 20, clients: int = 12) -> None:
    """Print how many requests were sent and lost."""
    for replace in (reload, kill):
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder), workers=2) as service:
            with load(service.port, clients) as running:
                connections = sum(replace(service, running) for _ in range(rounds))
            sent, lost = sum(client.sent for client in running), [each for client in running for each in client.lost]
        sys.stdout.write(
            f"{rounds} times {replace.__name__}: {sent} requests sent, {len(lost)} lost {lost[:3]}; "
            f"killed workers had {connections} connections\n"
        )


if __name__ == "__main__":
    main()
