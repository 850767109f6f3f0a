"""Scenarios in which machines, their database or their network fail while clients use them. Each returns figures.

Every response has to be right, or a 503 with Retry-After. `Model.problems` lists those that are not.
"""

import math
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from secrets import token_hex
from statistics import median

import orjson
import psycopg

from tests.integration.postgresql.clients import Exchange, put_number, working
from tests.integration.postgresql.machines import BY_HAND, NUMBER, item_path
from tests.integration.postgresql.site import DATABASE, PASSWORD, ROLE, Site
from tests.integration.server.service import until
from tests.integration.server.wire import JSON, Connection, Response, request
from tests.support.images import image_id

Figures = dict[str, object]

_MAX_SECONDS = 8  # until a 503 in an outage, on the busiest machine: four times as long as it takes


class Outage:
    """A period in which some ports cannot reach the database. They have to respond to all requests with 503."""

    def __init__(self, site: Site, *ports: int) -> None:
        self._site = site
        self._ports = ports or tuple(site.ports)
        self._begin = self._end = self._over = 0.0

    def last(self, *, responses: int = 10) -> None:
        """Begin the outage, and end it when each port has sent this many responses."""
        self._begin = time.monotonic()
        self._site.await_traffic(self._begin, *self._ports, count=responses)
        self._end = time.monotonic()

    def await_recovery(self) -> None:
        """Wait until requests are successful. The database is available again."""
        self._over = time.monotonic()
        self._site.await_success(self._over)

    def figures(self) -> Figures:
        """Return how long requests took, and how long after the outage each port last responded with 503."""
        model = self._site.fleet.model
        wrong = [each for each in model.since(self._begin, *self._ports) if each.end < self._end and each.is_success]
        model.problems.extend(f"successful during the outage: {each}" for each in wrong)
        errors = [each for each in model.between(self._begin, math.inf, *self._site.ports) if not each.is_success]
        model.problems.extend(f"late 503: {each}" for each in errors if each.seconds > _MAX_SECONDS)
        first = min(each.end for each in errors)
        by_port = [[each for each in errors if each.port == port] for port in self._site.ports]
        following = [each.seconds for each in errors if each.begin > first and each.end < self._end]
        return {
            "outage": f"{self._over - self._begin:.2f} s",
            "503": len(errors),
            "first 503": f"{max(each.seconds for each in errors if each.begin <= first):.3f} s",
            "following 503": _milliseconds(following),
            "right after": ", ".join(_last(each, self._over) for each in by_port),
        }


@contextmanager
def outage(site: Site, *ports: int) -> Iterator[Outage]:
    """Run clients before, during and after an outage that the block causes. At the end, nothing may be lost."""
    caused = Outage(site, *ports)
    with working(site.fleet.workers()):
        site.await_traffic(time.monotonic())
        yield caused
        caused.await_recovery()
    site.fleet.settle()


def run_steadily(site: Site, responses: int) -> Figures:
    """Let clients read and write until they have received this many responses. An image is also changed with SQL."""
    model, begin, name = site.fleet.model, time.monotonic(), item_path(BY_HAND)
    with working(site.fleet.workers()):
        while len(model.since(begin, *site.ports)) < responses:
            number = model.send(name)
            metadata = orjson.dumps({NUMBER: str(number)}).decode()
            site.execute("UPDATE images SET metadata = %s WHERE id = %s", metadata, image_id(BY_HAND))
            model.see({name: number}, "an acknowledgement")
            time.sleep(0.02)
    seconds = time.monotonic() - begin
    site.fleet.settle()
    received = model.since(begin, *site.ports)
    return {
        "responses": len(received),
        "stale": sum(each.startswith("stale") for each in model.problems),
        "503": _count_errors(received),
        "responses/s": round(len(received) / seconds),
        "writes": sum(model.known.values()),
    }


def restart(site: Site, mode: str) -> Figures:
    """Stop the primary, and start it again."""
    with outage(site) as caused:
        site.primary.stop(mode)
        caused.last()
        site.primary.start()
    return caused.figures()


def promote(site: Site) -> Figures:
    """Kill the primary, and promote its standby."""
    assert site.standby is not None
    with outage(site) as caused:
        site.primary.kill()
        caused.last()
        site.standby.promote()
    return caused.figures()


def lose_machine(site: Site) -> Figures:
    """Lose the machine of the primary, which does not close connections, and promote the standby."""
    assert site.standby is not None
    with ExitStack() as stack, outage(site) as caused:
        for network in site.networks:
            stack.enter_context(network.silent())
        caused.last()
        site.primary.kill()
        site.standby.promote()
    return caused.figures()


def silence(site: Site, machine: int) -> Figures:
    """Stop the network between a machine and the database from forwarding anything, for some time."""
    with outage(site, site.fleet.ports[machine]) as caused, site.networks[machine].silent():
        caused.last(responses=200)
    return caused.figures()


def refuse(site: Site, machine: int) -> Figures:
    """Make the network between a machine and the database reset all connections, and refuse new ones."""
    with outage(site, site.fleet.ports[machine]) as caused, site.networks[machine].refusing():
        caused.last()
    return caused.figures()


def kill_machine(site: Site) -> Figures:
    """Kill the second machine. The balancer sends its requests to the first one, also those in progress."""
    fleet, model, port = site.fleet, site.fleet.model, site.fleet.balancer_port
    with working(fleet.workers([port] * 13)):
        site.await_traffic(time.monotonic(), port)
        begin = time.monotonic()
        os.killpg(fleet.services[1].process.pid, signal.SIGKILL)
        site.await_traffic(begin + 3, port)
    sent = model.since(begin, port)
    failed = [each for each in sent if not each.is_success]
    return {"requests": len(sent), "failed": len(failed), "last": _last(failed, begin)}


def terminate_backends(site: Site, times: int) -> Figures:
    """Terminate all connections of the machines again and again."""
    begin = time.monotonic()
    with working(site.fleet.workers()):
        site.await_traffic(begin)
        terminated = 0
        for _ in range(times):
            terminated += site.terminate()
            site.await_success(time.monotonic(), count=5)
    site.fleet.settle()
    received = site.fleet.model.since(begin, *site.ports)
    return {"responses": len(received), "terminated": terminated, "503": _count_errors(received)}


def terminate_writer(site: Site) -> Figures:
    """Terminate the connection of a writer within its transaction, while it waits for another writer."""
    with _locked_by_hand(site), _write(site) as sent:
        until(lambda: site.terminate("wait_event_type = 'Lock'") == 1)
    site.fleet.settle()
    return {"status": _status(sent), "is written": _number_by_hand(site) == 1}


def hang_writer(site: Site, seconds: float) -> Figures:
    """Let another client hold the lock of writers in its transaction for some time: reads continue, writes wait."""
    with working(site.fleet.workers()):
        with _locked_by_hand(site):
            begin = time.monotonic()
            time.sleep(seconds)
            end = time.monotonic()
        site.await_success(time.monotonic())
    site.fleet.settle()
    sent = site.fleet.model.between(begin, end, *site.ports)
    writes = [each.seconds for each in sent if not each.is_read]
    return _by_kind(sent) | {"slowest write": f"{max(writes):.2f} s"}


def stop_writer(site: Site) -> Figures:
    """Stop a machine within its transaction, until the database ends the transaction. It does not write later."""
    pid = site.fleet.services[0].process.pid
    with _write(site) as sent:
        with _locked_by_hand(site):
            until(lambda: len(site.execute("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")) == 1)
            os.killpg(pid, signal.SIGSTOP)
        begin = time.monotonic()
        with _locked_by_hand(site):
            seconds = time.monotonic() - begin
        os.killpg(pid, signal.SIGCONT)
    site.fleet.settle()
    is_written = _number_by_hand(site) == 1
    return {"others can write after": f"{seconds:.1f} s", "status": _status(sent), "is written": is_written}


def slow_down(site: Site, delay: float, requests: int) -> Figures:
    """Measure requests that need no catalog, while others wait for a database that is far away."""
    port = site.fleet.ports[1]
    before = _time_versions(port, requests)
    site.networks[1].delay = delay
    with working(site.fleet.workers()):
        site.await_traffic(time.monotonic())
        begin = time.monotonic()
        during = _time_versions(port, requests)
        others = site.fleet.model.since(begin, port)
    site.networks[1].delay = 0
    site.fleet.settle()
    return {
        "/v2/ before": _milliseconds(before),
        "/v2/ meanwhile": _milliseconds(during),
        "reads": _milliseconds([each.seconds for each in others]),
        "503": _count_errors(others),
    }


def fill_disk(site: Site) -> Figures:
    """Fill the disk of the database until no page is left, and make space again."""
    site.execute("CREATE TABLE ballast (data text); ALTER TABLE ballast ALTER data SET STORAGE PLAIN")
    with working(site.fleet.workers()):
        with suppress(psycopg.errors.DiskFull):
            site.execute("INSERT INTO ballast SELECT repeat('x', 7000 + 0 * generate_series(1, 1000000))")
        begin = time.monotonic()
        status = _add_metadata(site)
        site.await_traffic(begin, count=100)
        end = time.monotonic()
        site.execute("DROP TABLE ballast")
        site.await_success(time.monotonic())
    site.fleet.settle()
    others = _by_kind(site.fleet.model.between(begin, end, *site.ports))
    return {"status of a large change": status, "afterwards": _add_metadata(site)} | others


def exhaust_connections(site: Site) -> Figures:
    """Let other clients take all connections of the database when the machines have lost theirs."""
    with outage(site) as caused, ExitStack() as others:
        _take_all_connections(site, others)
        caused.last()
    return caused.figures()


def lose_tail(site: Site) -> Figures:
    """Promote a standby that lacks the last changes, and return what the responses show before and after that."""
    assert site.standby is not None
    assert site.replication is not None
    path, token, sql = item_path(0), site.fleet.token, "SELECT metadata FROM images WHERE id = %s"
    first, second = site.fleet.ports
    with Connection(first) as a, Connection(second) as b:

        def write(number: int) -> int:
            return a.fetch(put_number(path, token, number)).status

        def read(connection: Connection) -> str:
            response = connection.fetch(request(path, f"X-Auth-Token: {token}"))
            return response.document["meta"][NUMBER] if response.status == 200 else str(response.status)

        def await_read(connection: Connection) -> str:
            until(lambda: read(connection) != "503")
            return read(connection)

        assert write(1) == 200
        standby = site.standby
        until(lambda: standby.execute(sql, image_id(0), database=DATABASE) == site.execute(sql, image_id(0)))
        with site.replication.silent():
            before = [(write(number), read(a), read(b)) for number in (2, 3, 4)]
            site.primary.kill()
            standby.promote()
        promoted = await_read(a), await_read(b)
        after = [(write(number), read(a), read(b)) for number in (5, 6, 7)]
    return {"before": before, "promoted": promoted, "after": after}


@contextmanager
def _locked_by_hand(site: Site) -> Iterator[None]:
    """Let another client hold the lock of writers, in a transaction, until the end of the block."""
    with site.connect() as connection:
        connection.execute("SELECT FROM catalog FOR UPDATE")
        yield


@contextmanager
def _write(site: Site) -> Iterator[Future[tuple[Response, bool]]]:
    """Write a number through the first machine, and wait for the response at the end of the block."""
    with Connection(site.fleet.ports[0], timeout=60) as connection, ThreadPoolExecutor(1) as executor:
        yield executor.submit(site.fleet.model.write, connection, item_path(BY_HAND), site.fleet.token)


def _status(sent: Future[tuple[Response, bool]]) -> int | None:
    """Return the status of a response; None if the connection was closed instead."""
    try:
        return sent.result()[0].status
    except AssertionError:
        return None


def _add_metadata(site: Site) -> int:
    """Add so much metadata to an image that the database needs more pages, and return the status."""
    body = orjson.dumps({"metadata": {str(number): token_hex(127) for number in range(100)}})
    path = item_path(BY_HAND).removesuffix(f"/{NUMBER}")
    headers = (f"X-Auth-Token: {site.fleet.token}", JSON, f"Content-Length: {len(body)}")
    with Connection(site.fleet.ports[0]) as connection:
        return connection.fetch(request(path, *headers, method="POST") + body).status


def _take_all_connections(site: Site, others: ExitStack) -> None:
    """Take all connections that the database has for others than the superuser, those of the machines included."""
    names = "max_connections", "superuser_reserved_connections"
    capacity, reserved = (int(site.execute(f"SHOW {name}")[0][0]) for name in names)
    url, taken = site.primary.url(DATABASE, user=ROLE, password=PASSWORD), 0

    def has_taken_all() -> bool:
        # A machine may be faster than this, also because the superuser's own connection has just ended.
        nonlocal taken
        site.terminate()
        with suppress(psycopg.OperationalError):
            while taken < capacity - reserved:
                others.enter_context(psycopg.connect(url))
                taken += 1
        return taken == capacity - reserved

    until(has_taken_all)


def _number_by_hand(site: Site) -> int:
    ((metadata,),) = site.execute("SELECT metadata FROM images WHERE id = %s", image_id(BY_HAND))
    return int(orjson.loads(metadata)[NUMBER])


def _time_versions(port: int, requests: int) -> list[float]:
    """Return the duration in seconds of each request for the API versions. There are 50 ms between two requests."""
    times = []
    with Connection(port) as connection:
        for _ in range(requests):
            begin = time.monotonic()
            assert connection.fetch(request("/v2/")).status == 200
            times.append(time.monotonic() - begin)
            time.sleep(0.05)
    return times


def _by_kind(sent: list[Exchange]) -> Figures:
    counts = {}
    for kind, is_read in (("reads", True), ("writes", False)):
        exchanges = [each for each in sent if each.is_read == is_read]
        counts[kind] = f"{len(exchanges)}, 503: {_count_errors(exchanges)}"
    return dict(counts)


def _count_errors(exchanges: list[Exchange]) -> int:
    return sum(not each.is_success for each in exchanges)


def _last(failed: list[Exchange], since: float) -> str:
    """Return how long after a time the last failure was."""
    return f"{max([since, *(each.end for each in failed)]) - since:.2f} s"


def _milliseconds(seconds: list[float]) -> str:
    return f"median {median(seconds) * 1000:.1f} ms, maximum {max(seconds) * 1000:.1f} ms" if seconds else "none"
