"""The version of the catalog: who shares a query for it, and what changes it."""

import asyncio
from collections.abc import Iterator
from threading import stack_size
from types import SimpleNamespace

import pytest

from app.catalog.errors import CatalogDamaged, CatalogMissing, CatalogUnavailable
from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.migrations import migrate
from app.catalog.postgresql.sessions import Sessions
from app.catalog.postgresql.version import VersionReader

TIMEOUT = 0.3
CHANGE = "UPDATE tokens SET project_id = project_id"
TERMINATE_OTHERS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Reader(VersionReader):
    """Reads the version, and records the numbers of its connections and its outages."""

    def __init__(self, url: str, timeout: float) -> None:
        self.numbers: list[int] = []
        self.outages: list[str] = []
        sessions = Sessions(url, max_readers=1)
        connect = lambda: sessions.connect_for_version(timeout)  # noqa: E731
        pool = SimpleNamespace(start_generation=self.numbers.append, suspend=self.outages.append)
        super().__init__("NAME", connect, pool, timeout=timeout)  # type: ignore[arg-type]


@pytest.fixture
def reader(url: str, connection: Connection) -> Iterator[Reader]:
    """Create a catalog, and return a reader of its version."""
    with connection.transaction():
        migrate(connection)
    reader = Reader(url, 10)
    yield reader
    reader.close()


async def next_version(reader: Reader) -> tuple[int, bytes]:
    """Return the version as soon as it can be read."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await reader.read()
            except CatalogUnavailable:
                await asyncio.sleep(0.01)


def test_version_changes_with_the_catalog_only(reader: Reader, connection: Connection) -> None:
    async def read() -> list[tuple[int, bytes]]:
        versions = [await reader.read(), await reader.read()]
        connection.execute(CHANGE)
        return [*versions, await reader.read()]

    first, second, third = asyncio.run(read())
    assert first == second
    assert first[0] == third[0] == 1
    assert first[1] != third[1]


def test_version_is_the_same_on_another_event_loop(reader: Reader) -> None:
    assert asyncio.run(next_version(reader)) == asyncio.run(next_version(reader))
    assert reader.numbers == [1]


def test_version_of_another_connection_is_another_one(reader: Reader, connection: Connection) -> None:
    async def read() -> None:
        first = await reader.read()
        connection.execute(TERMINATE_OTHERS)
        second = await reader.read()  # no error: the first attempt to replace the connection succeeds
        assert (first[0], second[0]) == (1, 2)
        assert first[1] == second[1]

    asyncio.run(read())
    assert (reader.numbers, reader.outages) == ([1, 2], [])


def test_calls_share_the_query_that_is_sent_after_them(reader: Reader, connection: Connection) -> None:
    async def read() -> None:
        await reader.read()
        with connection.transaction(force_rollback=True):
            connection.execute("LOCK TABLE catalog IN ACCESS EXCLUSIVE MODE")
            sent, shared = reader.read(), reader.read()
            await asyncio.sleep(0)
            later, shared_later = reader.read(), reader.read()
            assert (sent is shared, later is shared_later, later is sent) == (True, True, False)
            assert not (sent.done() or later.done())
        assert await sent == await later

    asyncio.run(read())


def test_change_that_is_committed_before_the_call_is_in_the_version(reader: Reader, connection: Connection) -> None:
    async def read() -> None:
        for _ in range(20):
            waiting = reader.read()
            await asyncio.sleep(0)
            connection.execute(CHANGE)
            ((current,),) = connection.execute("SELECT version FROM catalog")
            assert (await reader.read())[1] == str(current).encode()
            assert waiting.done()

    asyncio.run(read())


def test_without_a_result_in_time_all_calls_fail_until_there_is_a_connection(
    reader: Reader, url: str, connection: Connection
) -> None:
    reader = Reader(url, TIMEOUT)

    async def read() -> None:
        await reader.read()
        with connection.transaction(force_rollback=True):
            connection.execute("LOCK TABLE catalog IN ACCESS EXCLUSIVE MODE")
            sent = reader.read()
            await asyncio.sleep(0)
            later = reader.read()
            for waiting in (sent, later):
                with pytest.raises(CatalogUnavailable, match=f"^NAME did not respond within {TIMEOUT} s$"):
                    await waiting
            with pytest.raises(CatalogUnavailable):
                reader.read()
        assert (await next_version(reader))[0] == 2

    asyncio.run(read())
    assert reader.numbers == [1, 2]
    reader.close()


def test_connection_is_made_as_soon_as_the_system_starts_a_thread(reader: Reader) -> None:
    async def read() -> tuple[int, bytes]:
        size = stack_size(1 << 46)  # no thread can be started
        waiting = reader.read()
        stack_size(size)
        return await waiting

    assert asyncio.run(read())[0] == 1


def test_error_of_an_outage_does_not_grow_with_each_call(url: str) -> None:
    reader = Reader(url, 10)

    async def read() -> set[int]:
        with pytest.raises(CatalogMissing):
            await reader.read()
        depths = set()
        for _ in range(3):
            with pytest.raises(CatalogMissing) as raised:
                reader.read()
            depths.add(len(raised.traceback))
        return depths

    assert asyncio.run(read()) == {2}
    reader.close()


def test_empty_database_has_no_version(url: str) -> None:
    reader = Reader(url, 10)
    with pytest.raises(CatalogMissing):
        asyncio.run(asyncio.wait_for(_read(reader), 10))
    reader.close()


def test_catalog_without_a_version_is_damaged(reader: Reader, connection: Connection) -> None:
    connection.execute("DELETE FROM catalog")
    with pytest.raises(CatalogDamaged, match=r"^the table catalog is empty$"):
        asyncio.run(_read(reader))


def test_error_of_the_query_ends_the_attempt_to_connect(reader: Reader, connection: Connection) -> None:
    connection.execute("ALTER TABLE catalog RENAME TO other")
    connection.execute("CREATE VIEW catalog AS SELECT (1 / 0)::text::uuid AS version")  # PREPARE does not notice

    with pytest.raises(CatalogUnavailable):
        asyncio.run(_read(reader))
    assert (reader.numbers, len(reader.outages)) == ([], 1)


async def _read(reader: Reader) -> tuple[int, bytes]:
    return await reader.read()
