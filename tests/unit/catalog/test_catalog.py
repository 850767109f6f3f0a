"""The catalog: who sees what, what loading changes, and how the file behaves."""

import multiprocessing
import threading
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.models import ImageFilters, ImportResult, StoredImage
from app.catalog.sqlite.database import SchemaState, open_reader, schema_state, transaction
from app.catalog.sqlite.reader import CatalogReader
from app.catalog.transfer import ensure_catalog, export_images, import_images
from app.errors import CatalogUnavailable, InvalidParameter
from app.timestamps import now
from tests.support.images import Fields, catalog_of, image, image_id, records_of

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

ME = "11111111111111111111111111111111"
YOU = "22222222222222222222222222222222"
THEM = "33333333333333333333333333333333"


def found(path: Path, tenant: str = ME, **query: str | int) -> list[int]:
    page = CatalogReader(path).find(tenant, ImageFilters(**query), at_most=1000)  # type: ignore[arg-type]
    return [int(each.id[-12:]) for each in page.images]


VISIBLE = [
    image(1, visibility="public"),
    image(2, visibility="public", owner=ME),
    image(3, visibility="public", owner=YOU),
    image(4, visibility="private", owner=ME),
    image(5, visibility="private", owner=YOU),
    image(6, visibility="shared", owner=ME, members=[ME, YOU]),
    image(7, visibility="shared", owner=YOU, members=[ME]),
    image(8, visibility="shared", owner=YOU, members=[THEM]),
    image(9, visibility="community", owner=ME),
    image(10, visibility="community", owner=YOU),
    image(11, visibility="private"),
    image(12, visibility="shared", members=[ME]),
    image(13, visibility="private", owner=YOU, members=[ME]),
    image(14, visibility="community", owner=YOU, members=[ME]),
]


@pytest.mark.parametrize(
    ("tenant", "sees"),
    [
        (ME, [1, 2, 3, 4, 6, 7, 9, 12]),
        (YOU, [1, 2, 3, 5, 6, 7, 8, 10, 13, 14]),
        (THEM, [1, 2, 3, 8]),
        ("openstack", [1, 2, 3]),
    ],
)
def test_a_tenant_sees_public_images_its_own_and_those_it_accepted(
    tmp_path: Path, tenant: str, sees: list[int]
) -> None:
    assert found(catalog_of(tmp_path, *VISIBLE), tenant) == sees


def test_tenants_are_the_same_in_either_form_and_case(tmp_path: Path) -> None:
    dashed, plain = "ABCDEF01-2345-6789-abcd-ef0123456789", "abcdef0123456789abcdef0123456789"
    path = catalog_of(
        tmp_path,
        image(1, owner=dashed, visibility="private"),
        image(2, owner=YOU, visibility="shared", members=[plain.upper(), dashed]),
    )
    assert [found(path, tenant) for tenant in (dashed, plain, plain.upper())] == [[1, 2]] * 3


@pytest.mark.parametrize("marker", [1, 4, 7, 10, 15])
def test_a_marker_is_an_image_that_can_be_seen_even_by_its_id_alone_or_a_tombstone(tmp_path: Path, marker: int) -> None:
    path = catalog_of(tmp_path, *VISIBLE, image(15, status="DELETED"))
    assert found(path, marker=image_id(marker)) == [each for each in found(path) if each > marker]


@pytest.mark.parametrize("marker", [image_id(5), image_id(8), image_id(11), image_id(13), image_id(99), "nonsense"])
def test_another_marker_is_unknown(tmp_path: Path, marker: str) -> None:
    path = catalog_of(tmp_path, *VISIBLE)
    with pytest.raises(
        InvalidParameter, match=f"^Parameter 'marker': '{marker}' is not the id of an image that {ME} can"
    ):
        found(path, marker=marker)


def test_the_newest_comes_first_and_ties_as_they_came(tmp_path: Path) -> None:
    path = catalog_of(
        tmp_path,
        image(1, created="2020-01-01T00:00:00Z"),
        image(2, created="2021-01-01T00:00:00Z", owner=ME),
        image(3, created="2020-01-01T00:00:00Z", owner=ME),
        image(4, created="2020-01-01T00:00:00Z", owner=YOU, visibility="shared", members=[ME]),
        image(5, created="2021-01-01T00:00:00Z"),
    )
    assert found(path) == [2, 5, 1, 3, 4]


def test_deleted_images_are_found_by_their_status_or_by_when_they_changed(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1), image(2, status="DELETED", updated="2020-06-01T00:00:00Z"))
    assert found(path) == [1]
    assert found(path, status="DELETED") == [2]
    assert found(path, changes_since="2020-01-01T00:00:00Z") == [1, 2]
    assert found(path, changes_since="2020-01-01T00:00:01Z") == [2]
    assert found(path, changes_since="2020-01-01T00:00:00Z", status="ACTIVE") == [1]
    assert found(path, changes_since="2020-06-01T00:00:01Z") == []


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("s1", [1]),
        ("http://a.test/v2/x/servers/s1", [1]),
        ("http://a.test/x/servers/s1?all=1#top", [1]),
        ("/servers/s1", [1]),
        ("http://a.test/servers/s1/", []),
        ("", []),
        ("http://s1", []),
        ("http://[v1.x]:0/s1", [1]),
        ("http://[::1%25eth0]/s1", [1]),
        ("urn:s1", [1]),
        ("S1", []),
    ],
)
def test_a_server_is_the_last_part_of_a_path(tmp_path: Path, server: str, expected: list[int]) -> None:
    path = catalog_of(
        tmp_path, image(1, metadata={"instance_uuid": "s1"}), image(2, metadata={"instance_uuid": ""}), image(3)
    )
    assert found(path, server=server) == expected


@pytest.mark.parametrize(
    ("type_", "expected"),
    [("ALL", [1, 2, 3, 4, 5, 6, 7]), ("SERVER", [1, 2, 3]), ("BASE", [4, 5, 6, 7]), ("snapshot", [2]), ("backup", [3])],
)
def test_images_made_from_a_server_are_told_from_the_others(tmp_path: Path, type_: str, expected: list[int]) -> None:
    metadata: list[Fields] = [
        {"instance_uuid": "s1"},
        {"image_type": "snapshot"},
        {"image_type": "backup", "instance_uuid": None},
        {"image_type": "SNAPSHOT"},
        {"image_type": None, "instance_uuid": ""},
        {"instance_uuid": None},
        {},
    ]
    path = catalog_of(tmp_path, *(image(number, metadata=each) for number, each in enumerate(metadata, 1)))
    assert found(path, type_=type_) == expected


def test_loading_twice_changes_nothing_not_even_the_file(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, *VISIBLE)
    with closing(open_reader(path)) as db:
        (before,) = db.execute("PRAGMA data_version").fetchone()
        assert import_images(path, records_of(*VISIBLE)) == ImportResult(unchanged=len(VISIBLE))
        assert db.execute("PRAGMA data_version").fetchone() == (before,)


def test_loading_tells_what_it_did(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1), image(2), image(3))
    records = records_of(image(1), image(2, name="new"), image(4), image(5))
    assert import_images(path, records, prune=True) == ImportResult(new=2, changed=1, unchanged=1, pruned=1)


def test_a_changed_image_keeps_its_place(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1), image(2), image(3))
    import_images(path, records_of(image(4), image(2, name="new"), image(1)))
    assert found(path) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "change", [{"members": [YOU]}, {"members": [ME, YOU, THEM]}, {"members": []}, {"visibility": "private"}]
)
def test_members_see_an_image_while_it_is_shared_with_them(tmp_path: Path, change: Fields) -> None:
    shared = image(1, visibility="shared", members=[ME])
    path = catalog_of(tmp_path, shared)
    assert import_images(path, records_of(shared | change)) == ImportResult(changed=1)
    members = [] if "visibility" in change else change["members"]
    assert [found(path, tenant) for tenant in (ME, YOU, THEM)] == [
        [1] if tenant in members else [] for tenant in (ME, YOU, THEM)
    ]


def test_pruned_images_become_tombstones_of_now(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1), image(2))
    before = now()
    import_images(path, records_of(image(1)), prune=True)
    assert found(path) == [1]
    (tombstone,) = CatalogReader(path).find(ME, ImageFilters(changes_since=before), at_most=9).images
    assert (tombstone.id, tombstone.status, tombstone.progress) == (image_id(2), "DELETED", 0)
    assert before <= tombstone.updated <= now()


@pytest.mark.parametrize(("owner", "left"), [(None, [2, 3]), (ME, [1, 3]), (THEM, [1, 2, 3])])
def test_only_images_of_the_same_owner_are_pruned(tmp_path: Path, owner: str | None, left: list[int]) -> None:
    path = catalog_of(tmp_path, image(1), image(2, owner=ME), image(3, owner=YOU))
    import_images(path, [], owner=owner, prune=True)
    assert found(path) == left


def test_pruning_leaves_tombstones_as_they_are(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1, status="DELETED", progress=0))
    assert import_images(path, [], prune=True) == ImportResult()


def test_a_tombstone_that_comes_again_is_an_image_again(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1, status="DELETED"), image(2))
    import_images(path, records_of(image(1)))
    assert found(path) == [1, 2]


def test_an_export_loaded_into_an_empty_catalog_gives_the_same_catalog(tmp_path: Path) -> None:
    path, copy = catalog_of(tmp_path, *VISIBLE, image(15, status="DELETED")), tmp_path / "copy.db"
    import_images(copy, list(export_images(path, deleted=True)))
    assert list(export_images(copy, deleted=True)) == list(export_images(path, deleted=True))
    assert [found(copy, tenant) for tenant in (ME, YOU, THEM)] == [found(path, tenant) for tenant in (ME, YOU, THEM)]


def test_an_export_can_be_of_one_owner_and_is_without_tombstones_unless_asked(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1), image(2, owner=ME), image(3, owner=ME, status="DELETED"), image(4, owner=YOU))
    assert [record.id[-1] for record in export_images(path)] == ["1", "2", "4"]
    assert [record.id[-1] for record in export_images(path, owner=ME)] == ["2"]
    assert [record.id[-1] for record in export_images(path, owner=ME, deleted=True)] == ["2", "3"]


def test_a_load_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1))
    (good,) = records_of(image(2))
    with pytest.raises(CatalogUnavailable):
        import_images(path, [good, good._replace(id=image_id(3), metadata="not json")])
    assert found(path) == [1]


def test_a_reader_sees_the_catalog_as_it_was_until_a_writer_is_done(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1))
    with transaction(path) as db:
        db.execute("DELETE FROM images")
        assert found(path) == [1]
    assert found(path) == []


def test_a_catalog_is_read_by_each_thread_on_a_connection_of_its_own(tmp_path: Path) -> None:
    catalog = CatalogReader(catalog_of(tmp_path, image(1)))
    seen: list[object] = []

    def find() -> None:
        catalog.find(ME, ImageFilters(), at_most=1)
        connection = catalog._threads.connection
        catalog.find(ME, ImageFilters(), at_most=1)
        assert catalog._threads.connection is connection
        seen.append(connection)

    threads = [threading.Thread(target=find) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(connection) for connection in seen}) == 2


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    with (
        closing(open_reader(catalog_of(tmp_path, image(1)))) as db,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        db.execute("DELETE FROM images")


def test_a_catalog_that_is_missing_is_not_made_by_reading(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    for read in (lambda: CatalogReader(path), lambda: open_reader(path), lambda: list(export_images(path))):
        with pytest.raises(CatalogUnavailable, match=str(path)):
            read()
    assert not path.exists()


def sample_of(count: int) -> list[StoredImage]:
    return records_of(*(image(number) for number in range(count)))


def test_a_catalog_is_prepared_from_the_sample_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "catalog.db"
    assert schema_state(path) is SchemaState.NOTHING
    assert ensure_catalog(path, lambda: sample_of(3)) == 3
    assert schema_state(path) is SchemaState.CURRENT
    assert ensure_catalog(path, lambda: sample_of(4)) == 0
    assert len(found(path)) == 3


def prepare_each(paths: list[Path], start: Barrier, made: "Queue[int]") -> None:
    for path in paths:
        start.wait()
        made.put(ensure_catalog(path, lambda: sample_of(3)))


def test_processes_that_prepare_one_catalog_at_once_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    context, processes = multiprocessing.get_context("spawn"), 3
    paths = [tmp_path / str(number) / "catalog.db" for number in range(20)]
    start, made = context.Barrier(processes), context.Queue()
    preparing = [context.Process(target=prepare_each, args=(paths, start, made)) for _ in range(processes)]
    for each in preparing:
        each.start()
    counts = [made.get(timeout=30) for _ in range(processes * len(paths))]
    for each in preparing:
        each.join()
    assert sorted(counts) == [0] * (processes - 1) * len(paths) + [3] * len(paths)


def test_an_empty_file_is_no_catalog_yet(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.touch()
    assert ensure_catalog(path, lambda: sample_of(1)) == 1


def test_a_catalog_without_images_stays_without(tmp_path: Path) -> None:
    path = catalog_of(tmp_path)
    assert ensure_catalog(path, lambda: sample_of(1)) == 0
    assert found(path) == []


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(Database(path)) as db:
        db.table("birds").insert({"name": "heron"})
    for use in (schema_state, lambda path: import_images(path, []), lambda path: ensure_catalog(path, list)):
        with pytest.raises(CatalogUnavailable, match=r"other\.db is a database of something else$"):
            use(path)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database\n" * 100)
    with pytest.raises(CatalogUnavailable, match=r"notes\.txt: file is not a database$"):
        import_images(path, [])
    assert path.read_text() == "not a database\n" * 100


def test_a_catalog_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = catalog_of(tmp_path)
    with closing(Database(path)) as db:
        db.table("_sqlite_migrations").insert({"migration_set": "compute-images", "name": "999", "applied_at": now()})
    with pytest.raises(CatalogUnavailable, match=r"was made by a later version of compute-images$"):
        schema_state(path)


# What mattered of the first version's tables.
VERSION_1 = (
    """
    CREATE TABLE images (
        position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT, status TEXT NOT NULL,
        progress INTEGER NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL, min_disk INTEGER NOT NULL,
        min_ram INTEGER NOT NULL, size INTEGER, metadata TEXT NOT NULL, owner TEXT, visibility TEXT NOT NULL,
        members TEXT NOT NULL,
        server TEXT GENERATED ALWAYS AS (nullif(metadata ->> '$.instance_uuid', '')) STORED,
        image_type TEXT GENERATED ALWAYS AS (metadata ->> '$.image_type'),
        origin TEXT GENERATED ALWAYS AS (CASE WHEN image_type IN ('snapshot') THEN 'SERVER' ELSE 'BASE' END),
        listed_for TEXT GENERATED ALWAYS AS (json_array(owner))
    ) STRICT
    """,
    "CREATE TABLE audiences (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL UNIQUE) STRICT",
    "CREATE TABLE listings (audience, created, rank, updated, PRIMARY KEY (audience, created, rank)) WITHOUT ROWID",
    "CREATE VIEW visible AS SELECT id, rank FROM images CROSS JOIN listings CROSS JOIN audiences",
    "CREATE INDEX listings_by_change ON listings (audience, updated)",
)


def test_a_catalog_of_an_earlier_version_is_brought_to_this_one(tmp_path: Path) -> None:
    path, new = tmp_path / "catalog.db", catalog_of(tmp_path / "new", *VISIBLE)
    earlier = Migrations("compute-images")

    @earlier(name="1: images")
    def create(db: Database) -> None:
        for statement in VERSION_1:
            db.execute(statement)

    with closing(Database(path)) as db:
        earlier.apply(db)
        db.table("images").insert_all(record._asdict() for record in records_of(*VISIBLE))
    assert schema_state(path) is SchemaState.OLDER
    assert ensure_catalog(path, lambda: sample_of(1)) == 0
    assert schema_state(path) is SchemaState.CURRENT
    assert list(export_images(path)) == list(export_images(new))
    assert [found(path, tenant) for tenant in (ME, YOU, THEM)] == [found(new, tenant) for tenant in (ME, YOU, THEM)]
    with closing(open_reader(path)) as db, closing(open_reader(new)) as expected:
        assert {table.name: table.columns for table in db.tables} == {
            table.name: table.columns for table in expected.tables
        }


def test_a_current_catalog_is_served_from_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1))
    with closing(Database(path)) as db:
        db.disable_wal()
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert ensure_catalog(path, list) == 0
        assert found(path) == [1]
        assert list(tmp_path.iterdir()) == [path]
    finally:
        tmp_path.chmod(0o755)
