"""Two machines, the network between each and the database, and the database with its standby."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psycopg

from tests.integration.postgresql.machines import Fleet, fleet
from tests.integration.postgresql.network import Network
from tests.integration.server.service import until
from tests.support.packages import Missing
from tests.support.postgresql import PASSWORD as SUPERUSER_PASSWORD
from tests.support.postgresql import USER as SUPERUSER
from tests.support.postgresql import Cluster, cluster

ROLE, PASSWORD = "images", "correct horse"  # a URL has to encode the space
DATABASE = "catalog"

_STANDBY = {"wal_retrieve_retry_interval": "100ms", "synchronous_standby_names": ""}


class Site(NamedTuple):
    """A fleet and its database."""

    fleet: Fleet
    primary: Cluster
    standby: Cluster | None
    networks: list[Network]  # of each machine, unless they are connected to the database directly
    replication: Network | None  # between the primary and the standby

    @property
    def ports(self) -> list[int]:
        """The ports of the machines and of the balancer, to which clients send requests."""
        return [*self.fleet.ports, self.fleet.balancer_port]

    def execute(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Execute SQL in the catalog's database on the first server, as the superuser."""
        return self.primary.execute(sql, *parameters, database=DATABASE)

    def connect(self) -> psycopg.Connection:
        """Connect to the catalog's database on the first server, as the superuser."""
        return psycopg.connect(host=str(self.primary.folder), port=self.primary.port, user=SUPERUSER, dbname=DATABASE)

    def terminate(self, condition: str = "true") -> int:
        """Terminate the connections of the service that meet a condition, and return how many there were."""
        connections = f"FROM pg_stat_activity WHERE application_name = 'compute-images' AND {condition}"
        return len(self.execute(f"SELECT pg_terminate_backend(pid) {connections}"))

    def await_traffic(self, since: float, *ports: int, count: int = 10) -> None:
        """Wait until each port has responded to this many requests that were sent after a time."""
        until(lambda: all(len(self.fleet.model.since(since, port)) >= count for port in ports or self.ports))

    def await_success(self, since: float, *, count: int = 20) -> None:
        """Wait until the last requests to each port, sent after a time, were successful."""
        until(lambda: all(self._is_successful(since, port, count) for port in self.ports))

    def _is_successful(self, since: float, port: int, count: int) -> bool:
        last = self.fleet.model.since(since, port)[-count:]
        return len(last) == count and all(each.is_success for each in last)


@contextmanager
def small_disk(megabytes: int = 48) -> Iterator[Path]:
    """Mount a small disk until the end of the block. Raises Missing without the privilege to do so."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # PostgreSQL runs as another user
        disk = Path(name) / "disk"
        disk.mkdir()
        mount = ("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk))
        if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            raise Missing("only root can mount a small disk, and only outside of some containers")
        try:
            shutil.chown(disk, "postgres")
            yield disk
        finally:
            subprocess.run(("umount", str(disk)), check=True)  # noqa: S607


@contextmanager
def site(
    folder: Path,
    *,
    standby: str = "",
    with_networks: bool = False,
    tablespace: Path | None = None,
    **settings: object,
) -> Iterator[Site]:
    """Run two machines and their database until the end of the block. The settings are those of the database.

    A standby is `synchronous` or `asynchronous`. A tablespace is the folder of the catalog's database.
    """
    with ExitStack() as stack:
        primary = stack.enter_context(cluster(auth="scram-sha-256", durable=True, **settings))
        primary.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        if tablespace:
            primary.execute(f"CREATE TABLESPACE small LOCATION '{tablespace}'")
        primary.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}{' TABLESPACE small' if tablespace else ''}")
        standbys, replication = [], None
        if standby:
            replication = stack.enter_context(Network(primary.port).running())
            source = f"host=127.0.0.1 port={replication.port} user={SUPERUSER} password={SUPERUSER_PASSWORD}"
            standbys = [primary.standby(primary_conninfo=source, **_STANDBY)]
        if standby == "synchronous":
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
        url = primary.url(DATABASE, *standbys, user=ROLE, password=PASSWORD, target_session_attrs="read-write")
        networks = [stack.enter_context(Network(primary.port).running()) for _ in range(2 * with_networks)]
        urls = [url.replace(f":{primary.port}", f":{network.port}", 1) for network in networks] or [url] * 2
        machines = stack.enter_context(fleet(folder, urls, url))
        yield Site(machines, primary, next(iter(standbys), None), networks, replication)
        for service in machines.services:
            assert PASSWORD not in service.log
