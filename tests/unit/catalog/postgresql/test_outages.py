"""Requests that use the connection pool during an outage."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.catalog.errors import CatalogConnectionLost, CatalogUnavailable
from app.catalog.postgresql.database import Connection, connect
from app.catalog.postgresql.pool import ConnectionPool
from app.catalog.postgresql.sessions import Sessions
from app.catalog.postgresql.url import parse_url
from tests.integration.server.service import until
from tests.support.postgresql import Cluster


def test_outage_ends_statements_and_lets_others_fail_at_once(postgresql: Cluster) -> None:
    database = postgresql.create_database()
    sessions = Sessions(postgresql.url(database), max_readers=2)

    def read(statement: str) -> object:
        with sessions.read() as connection:
            return connection.execute(statement).fetchone()

    def is_waiting() -> bool:
        return bool(postgresql.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, "SELECT pg_sleep(60)")
        until(is_waiting)
        sessions.pool.suspend("the primary is away")
        with pytest.raises(CatalogConnectionLost):
            waiting.result()
    with pytest.raises(CatalogUnavailable, match="the primary is away"):
        read("SELECT 1")
    sessions.pool.start_generation(2)
    assert read("SELECT 1") == (1,)
    sessions.pool.suspend("the test ends")


def test_outage_that_begins_while_a_connection_is_opened_ends_the_transaction(url: str) -> None:
    opened = list[Connection]()

    def open_during_outage(deadline: float) -> Connection:
        opened.append(connect(parse_url(url), deadline=deadline))
        pool.suspend("the primary is away")
        return opened[0]

    pool = ConnectionPool(open_during_outage, 1)
    with pytest.raises(CatalogUnavailable, match="the primary is away"), pool.transaction("BEGIN", deadline=math.inf):
        pass
    assert [each.closed for each in opened] == [True]
