"""What the catalog relies on, whichever engine stores it."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from app.catalog.engine import Engine, SchemaState, Snapshot, Transaction, current_version
from app.catalog.engines import open_catalog as open_location
from app.catalog.errors import CatalogBusy, CatalogUnavailable
from app.catalog.models import SyncStatus
from app.catalog.postgresql.engine import PostgreSQLEngine
from app.catalog.postgresql.reader import PostgreSQLSnapshot
from app.catalog.postgresql.writer import PostgreSQLTransaction
from app.catalog.reader import CatalogReader
from app.catalog.sqlite.engine import SQLiteEngine
from app.catalog.sqlite.reader import SQLiteSnapshot
from app.catalog.sqlite.writer import SQLiteTransaction
from app.catalog.tokens import list_tokens
from app.errors import MirrorAlreadyRunning
from tests.support.catalogs import add_images, exported, exported_numbers, listed
from tests.support.images import image
from tests.unit.catalog.conftest import OpenCatalog

# mypy checks that the classes have every method of the protocols.
ENGINES: list[type[Engine]] = [SQLiteEngine, PostgreSQLEngine]
SNAPSHOTS: list[type[Snapshot]] = [SQLiteSnapshot, PostgreSQLSnapshot]
TRANSACTIONS: list[type[Transaction]] = [SQLiteTransaction, PostgreSQLTransaction]

READS: dict[str, Callable[[Engine], object]] = {
    "list": listed,
    "export": exported,
    "tokens": list_tokens,
    "ping": lambda engine: CatalogReader(engine).ping(),
    "version": lambda engine: asyncio.run(current_version(engine)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_missing_catalog_is_unavailable_and_not_created(engine: Engine, read: Callable[[Engine], object]) -> None:
    with pytest.raises(CatalogUnavailable):
        read(engine)
    assert engine.schema_state() is SchemaState.EMPTY


def test_readers_see_a_transaction_when_it_is_committed(engine: Engine) -> None:
    add_images(engine, image(1))
    with engine.transaction(timeout=1) as transaction:
        transaction.delete_images()
        assert listed(engine) == [1]
    assert listed(engine) == []


def test_failed_transaction_changes_nothing(engine: Engine) -> None:
    add_images(engine, image(1))
    with pytest.raises(ZeroDivisionError), engine.transaction(timeout=1) as transaction:
        transaction.delete_images()
        raise ZeroDivisionError
    assert listed(engine) == [1]


def test_snapshot_is_one_state(engine: Engine) -> None:
    add_images(engine, image(1))
    with engine.open_snapshot() as snapshot:
        assert snapshot.replicated_images(None)
        add_images(engine, image(2))
        assert len(snapshot.replicated_images(None)) == 1
    assert exported_numbers(engine) == [1, 2]


def test_second_writer_times_out(engine: Engine) -> None:
    add_images(engine)
    with (
        engine.transaction(timeout=1),
        pytest.raises(CatalogBusy),
        engine.transaction(timeout=0.1),
    ):
        pass


def test_version_changes_with_the_catalog_only(engine: Engine) -> None:
    async def versions() -> list[object]:
        found = [await current_version(engine)]
        for change in (
            lambda: add_images(engine, image(1)),
            lambda: add_images(engine, image(1)),  # which changes nothing
            lambda: engine.write_sync_status(SyncStatus(images=1)),
            lambda: add_images(engine, image(2)),
        ):
            await asyncio.to_thread(change)
            found.append(await current_version(engine))
        return found

    add_images(engine)
    empty, first, *same, last = asyncio.run(versions())
    assert same == [first, first]
    assert len({empty, first, last}) == 3


def test_threads_can_read_at_the_same_time(engine: Engine) -> None:
    add_images(engine, image(1))
    both = threading.Barrier(2, timeout=10)
    found: list[list[int]] = []

    def read() -> None:
        with engine.snapshot() as snapshot:
            both.wait()
            found.append([len(snapshot.tokens())])
        found.append(listed(engine))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [[0], [0], [1], [1]]


def test_sync_status_is_stored(engine: Engine) -> None:
    assert engine.read_sync_status() == SyncStatus()
    add_images(engine)
    status = SyncStatus(
        2.5,
        1.5,
        "2020-01-01T00:00:00Z",
        images=3,
        failed={"a": "b"},
        incomplete={"c": "d"},
        error="e",
        upstream_ids={"f": "F"},
    )
    for each in (status, SyncStatus()):
        engine.write_sync_status(each)
        assert engine.read_sync_status() == each


def test_catalog_has_one_mirror_at_a_time(open_catalog: OpenCatalog) -> None:
    engine, same = open_catalog("catalog"), open_catalog("catalog")
    with engine.mirror_lock(), open_catalog("other").mirror_lock():
        for each in (engine, same):
            with (
                pytest.raises(
                    MirrorAlreadyRunning, match=f"^Another mirror, or a restore, already writes to {engine.name}"
                ),
                each.mirror_lock(),
            ):
                pass


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_mirror_lock_is_released_after_an_error(engine: Engine, error: type[BaseException]) -> None:
    with pytest.raises(error), engine.mirror_lock():
        raise error
    with ExitStack() as stack:
        stack.enter_context(engine.mirror_lock())


def test_location_of_an_unknown_engine_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^The location of a catalog is a path, sqlite:///path, or postgresql://…\.$"):
        open_location("mysql://user:secret@host/catalog")
