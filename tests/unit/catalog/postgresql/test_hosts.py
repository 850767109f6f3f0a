"""Several hosts in a URL: which of them a connection uses."""

from functools import partial
from threading import Event

import pytest

from app.catalog.errors import CatalogMissing, CatalogUnavailable
from app.catalog.postgresql.database import Connection, connect
from app.catalog.postgresql.hosts import Outcome, connect_to_first, repeat
from app.catalog.postgresql.sessions import Sessions
from app.catalog.postgresql.url import parse_url, split_hosts
from tests.integration.server.service import free_port
from tests.support.postgresql import Cluster


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql:///db", [{"dbname": "db"}]),
        ("postgresql://a:1,b:2/", [{"host": "a", "port": "1"}, {"host": "b", "port": "2"}]),
        ("postgresql://a,b/?port=1", [{"host": "a", "port": "1"}, {"host": "b", "port": "1"}]),
        ("postgresql://a,b,c/?port=1,2", [{"host": "a,b,c", "port": "1,2"}]),
    ],
)
def test_url_is_split_into_hosts(url: str, hosts: list[dict[str, str]]) -> None:
    assert split_hosts(parse_url(url)) == hosts


def test_silent_host_does_not_delay_the_connection_to_another_one(url: str) -> None:
    is_over, attempts = Event(), iter([CatalogUnavailable("a standby"), None])

    def wait() -> Connection:
        is_over.wait(20)
        raise CatalogUnavailable("no response")

    def connect_after_promotion() -> Connection:
        if error := next(attempts):
            raise error
        return connect(parse_url(url))

    with connect_to_first([wait, connect_after_promotion]) as connection:
        assert not is_over.is_set()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    is_over.set()


@pytest.mark.parametrize("order", [1, -1])
def test_error_of_a_primary_is_reported_if_no_host_can_be_used(order: int) -> None:
    def fail(error: CatalogUnavailable) -> Connection:
        raise error

    errors = [CatalogMissing("postgresql://a/"), CatalogUnavailable("a standby")][::order]
    with pytest.raises(CatalogMissing):
        connect_to_first([partial(fail, error) for error in errors])


@pytest.mark.parametrize("count", [1, 2])
def test_attempt_that_fails_unexpectedly_has_an_outcome(count: int) -> None:
    outcomes, is_over = list[Outcome](), Event()

    def fail() -> Connection:
        raise OSError(24, "Too many open files")

    def deliver(outcome: Outcome) -> None:
        outcomes.append(outcome)
        is_over.set()

    repeat(partial(connect_to_first, [fail] * count), is_over, deliver)
    assert [(type(each), str(each)) for each in outcomes] == [
        (CatalogUnavailable, "OSError: [Errno 24] Too many open files")
    ]


def test_requests_use_the_server_of_the_version_only(postgresql: Cluster, url: str) -> None:
    closed = free_port()
    sessions = Sessions(url.replace("@127.0.0.1:", f"@127.0.0.1:{closed},127.0.0.1:"), max_readers=1)
    with connect(parse_url(url)) as connection:
        connection.execute("CREATE TABLE catalog (version uuid)")
    with sessions.connect_for_version(20), sessions.read() as reader:
        assert f" host=127.0.0.1 hostaddr=127.0.0.1 port={postgresql.port} " in reader.info.dsn
    sessions.pool.suspend("the test ends")
