"""The version of a catalog in PostgreSQL: every change of the tables changes it, and nothing else does."""

from collections.abc import Callable, Iterator

import pytest

from app.catalog.engine import SchemaState
from app.catalog.models import SyncMark, Token, Upstream
from app.catalog.postgresql.database import Connection, connect
from app.catalog.postgresql.migrations import migrate
from app.catalog.postgresql.schema import VERSIONED_TABLES
from app.catalog.postgresql.url import parse_url
from app.catalog.postgresql.writer import PostgreSQLTransaction, lock_catalog
from tests.support.images import image, stored_images
from tests.support.postgresql import Cluster

pytestmark = pytest.mark.external

UPSTREAM = Upstream("https://glance", is_admin=True, synced_at=1.5, revision=3)
IMAGES = stored_images(image(1, owner="a", visibility="shared", members=["b"]), image(2))
STAMP = "2020-01-01T00:00:00Z"

Change = Callable[[PostgreSQLTransaction], object]


@pytest.fixture(scope="module")
def catalog(postgresql: Cluster) -> Iterator[Connection]:
    """Connect to an empty catalog."""
    with connect(parse_url(postgresql.url(postgresql.create_database()))) as connection:
        migrate(connection)
        yield connection


@pytest.fixture
def transaction(catalog: Connection) -> Iterator[PostgreSQLTransaction]:
    """Start a transaction, which adds images, a tombstone of 2020, a token, and the upstream of a replica."""
    with catalog.transaction(force_rollback=True):
        transaction = PostgreSQLTransaction(catalog, state_before=SchemaState.EMPTY, batch_size=2)
        transaction.upsert_images(IMAGES, mark=SyncMark(1, 2))
        transaction.upsert_images(stored_images(image(3, status="DELETED")), deleted_at=STAMP)
        transaction.set_upstream(UPSTREAM)
        transaction.add_token(Token("1", "a", is_admin=False, created=STAMP, expires=None), b"hash")
        yield transaction


def version(transaction: PostgreSQLTransaction) -> object:
    return transaction._scalar("SELECT version FROM catalog")


@pytest.mark.parametrize(
    "change",
    [
        lambda transaction: lock_catalog(transaction._connection),
        lambda transaction: transaction.upsert_images([]),
        lambda transaction: transaction.upsert_images(IMAGES, mark=SyncMark(5, 6)),
        lambda transaction: transaction.purge_tombstones("2019-12-31T23:59:59Z"),
        lambda transaction: transaction.set_upstream(UPSTREAM),
        lambda transaction: transaction.delete_token("2"),
        lambda transaction: transaction._execute("INSERT INTO sync_status (document) VALUES ('')"),
        lambda transaction: migrate(transaction._connection),
    ],
    ids=["lock", "no images", "same images", "purge", "same upstream", "unknown token", "sync status", "migrate"],
)
def test_version_stays_without_a_change(transaction: PostgreSQLTransaction, change: Change) -> None:
    before = version(transaction)
    change(transaction)
    assert version(transaction) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda transaction: transaction.upsert_images(stored_images(image(9))),
        lambda transaction: transaction.upsert_images(stored_images(image(1, name="other"))),
        lambda transaction: transaction.purge_tombstones(STAMP),
        lambda transaction: transaction.delete_images(),
        lambda transaction: transaction.set_upstream(UPSTREAM._replace(revision=4)),
        lambda transaction: transaction.set_upstream(None),
        lambda transaction: transaction.delete_token("1"),
        *(
            lambda transaction, statement=f"{verb} {table}": transaction._execute(statement)
            for table in VERSIONED_TABLES
            for verb in ("DELETE FROM", "TRUNCATE")
        ),
    ],
)
def test_version_changes_with_every_change(transaction: PostgreSQLTransaction, change: Change) -> None:
    before = version(transaction)
    change(transaction)
    assert version(transaction) != before


def test_removed_images_leave_nothing_behind(transaction: PostgreSQLTransaction) -> None:
    def rows() -> list[object]:
        tables = ("images", "image_index", "image_members")
        return [transaction._scalar(f"SELECT count(*) FROM {table}") for table in tables]  # noqa: S608 no user input

    assert rows() == [3, 4, 1]
    transaction.purge_tombstones(STAMP)
    assert rows() == [2, 3, 1]
    transaction.upsert_images(stored_images(image(1, owner="a", visibility="private")))
    assert rows() == [2, 2, 0]
    transaction.delete_images()
    assert rows() == [0, 0, 0]


def test_version_changes_by_hand_with_another_search_path(transaction: PostgreSQLTransaction) -> None:
    before = version(transaction)
    for statement in ("SET LOCAL search_path = ''", "UPDATE public.images SET name = 'x'", "RESET search_path"):
        transaction._execute(statement)
    assert version(transaction) != before
