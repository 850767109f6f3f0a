"""Migrations of catalogs that earlier versions created."""

import hashlib
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from sqlite_utils import Database

from app.catalog.documents import dump_images
from app.catalog.editor import ImageEditor
from app.catalog.engine import Engine, SchemaState
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogOfLaterVersion, CatalogUnavailable
from app.catalog.models import ImportResult, SyncCounts, Token, Upstream, UpstreamSnapshot
from app.catalog.reader import CatalogReader
from app.catalog.replica import UpstreamMismatch, apply_snapshot, read_replica
from app.catalog.sqlite.migrations import MIGRATIONS
from app.catalog.tokens import add_token, find_token, list_tokens
from app.catalog.transfer import ensure_catalog, export_images, import_images, preview_import
from app.context import ANONYMOUS, RequestContext
from app.resources import version
from tests.support.catalogs import exported, listed
from tests.support.images import catalog_of, image, image_id, image_number, stored_images
from tests.support.projects import OTHER_PROJECT, PROJECT, THIRD_PROJECT
from tests.unit.catalog.sqlite.earlier_catalogs import EARLIER, IMPORTED, NAMES, REPLICAS, earlier_catalog, rows

URL = "https://image.cloud.test"
FOURTH_PROJECT, FIFTH_PROJECT = "4" * 32, "5" * 32
FOREVER = 36_500  # days: no tombstone is purged


@pytest.fixture(params=NAMES, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def migrated(name: str, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return a migrated catalog of each earlier version; no test writes to it."""
    return migrated_catalog(tmp_path_factory.mktemp("migrated"), name)


def migrated_catalog(folder: Path, name: str) -> Engine:
    engine = open_catalog(earlier_catalog(folder, name))
    assert ensure_catalog(engine, list, tombstone_days=FOREVER) == 0
    return engine


def normalized_schema(engine: Engine) -> list[tuple[str, str, str]]:
    """Return the schema without comments and whitespace, which ALTER TABLE does not preserve."""
    query = "SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE tbl_name <> '_sqlite_migrations'"
    return sorted((type_, name, re.sub(r"--.*|\s+", "", sql)) for type_, name, sql in rows(engine, query))


# --- what has landed ---

LANDED = {
    "1: images": "dd394a624e781470c5379f044da3ebcaf1e589084bf239a83b1587cf29c0b074",
    "2: listings": "24c804d07b937d8fae3dd6cbbdfb904d0eda7f2eadcd2a3509fb0658c09bee33",
    "3: tombstones made here": "0adfed750669431394beac13cc83ef7262ad46ed429c64c5205bf37033d627e7",
    "4: tokens": "d037985012852b3c46dde36d9d3db4b2e0a69acc05609ea1fd58730ffd548dd7",
    "5: upstream": "54ead28d65722a812f66a66f47a776658931225be43d149bdca0e205e3f83264",
    "6: standard names": "bb934b242ccd183c5d295689c387e6c6a85c9db4676006ff823aad731401b78e",
    "7: unlisted images": "e5c89f5d1a36a692fba48694b246383785c40ff5b1f7850793d22ab4413a4a44",
    "8: migrated by": "4b9a00cec35eff4b2cde25174a7770804474423a6844cbad835f35074dc267f3",
    "9: covering indexes": "6645b3f1883a4bc9b1e677b39632bd3385fd324b5accf69980e60cb6900010ae",
}


# The statements depend on the tables that a migration finds.
@pytest.mark.parametrize(
    ("earlier", "others"),
    [
        (None, {}),
        ("1-triggers", {"2: listings": "960a3bfa4dd50cfcd97d4dd512460220fa30bd6e4daea19dcfffcfe2ccc5a678"}),
        ("5-old5", {"6: standard names": "b9e944b853852c28965cb634d072d51a5486829835dfadc80f4cf30b24817183"}),
    ],
)
def test_landed_migrations_are_never_edited(tmp_path: Path, earlier: str | None, others: dict[str, str]) -> None:
    """Compare digests of the executed statements. If one differs, restore the migration, and add a new one."""
    path = tmp_path / "new.db" if earlier is None else earlier_catalog(tmp_path, earlier)
    with closing(Database(path)) as db:
        digests = {each.name: digest_of_statements(db, each.fn) for each in MIGRATIONS.pending(db)}
    assert list(digests) == list(LANDED)[-len(digests) :]
    assert digests == {each: (LANDED | others)[each] for each in digests}


def digest_of_statements(db: Database, migrate: Callable[[Database], None]) -> str:
    """Apply a migration, and return the SHA-256 of what it executed."""
    statements: list[str] = []
    with db.tracer(lambda sql, _: statements.append(sql)):
        migrate(db)
    return hashlib.sha256("\0".join(statements).encode()).hexdigest()


# --- before the migration ---


def test_earlier_catalog_is_unavailable_until_it_is_migrated(tmp_path: Path, name: str) -> None:
    path = earlier_catalog(tmp_path, name)
    before, engine = path.read_bytes(), open_catalog(path)
    assert engine.schema_state() is SchemaState.OUTDATED
    assert read_replica(engine, URL) is None
    for use in (exported, list_tokens, lambda engine: preview_import(engine, stored_images(image(1)))):
        with pytest.raises(CatalogUnavailable, match="holds a catalog of an earlier version"):
            use(engine)
    with pytest.raises(CatalogUnavailable):
        CatalogReader(engine).ping()
    assert path.read_bytes() == before


# Without the table of migration 8, the version that migrated the catalog is unknown.
@pytest.mark.parametrize(
    ("statement", "migrated_by"),
    [("UPDATE migrated_by SET version = '9.8.7'", " (9.8.7)"), ("DROP TABLE migrated_by", "")],
)
def test_catalog_of_a_later_version_is_rejected_with_that_version(
    tmp_path: Path, statement: str, migrated_by: str
) -> None:
    path = catalog_of(tmp_path)
    with closing(Database(path)) as db:
        db.execute("INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('compute-images', '999')")
        db.execute(statement)
    engine = open_catalog(path)
    for use in (
        engine.schema_state,
        lambda: ensure_catalog(engine, list, tombstone_days=30),
        lambda: import_images(engine, [], tombstone_days=30),
        lambda: list(export_images(engine)),
    ):
        with pytest.raises(CatalogOfLaterVersion) as raised:
            use()
        assert str(raised.value) == (
            f"{path} was migrated by a later version of compute-images{migrated_by} than this one ({version()}): "
            "install that version again, or restore a backup from before the upgrade"
        )
    with pytest.raises(CatalogUnavailable):
        CatalogReader(engine).ping()


# --- after the migration ---


def test_migrated_catalog_exports_what_the_earlier_version_exported(name: str, migrated: Engine) -> None:
    expected = EARLIER / ("replica.json" if name in REPLICAS else "imported.json")
    assert b"".join(dump_images(exported(migrated))) == expected.read_bytes()


def test_migrated_catalog_has_the_schema_of_a_new_one(migrated: Engine, tmp_path: Path) -> None:
    assert migrated.schema_state() is SchemaState.CURRENT
    assert rows(migrated, "SELECT version FROM migrated_by") == [(version(),)]
    CatalogReader(migrated).ping()
    assert normalized_schema(migrated) == normalized_schema(open_catalog(catalog_of(tmp_path)))


def test_migrated_catalog_has_the_members_of_its_images(migrated: Engine) -> None:
    shared = [each for each in exported(migrated) if each.visibility == "shared"]
    members = {(image_number(each.id), member) for each in shared for member in orjson.loads(each.members)}
    query = "SELECT id, project_id FROM image_members CROSS JOIN images USING (sequence)"
    assert {(image_number(id_), member) for id_, member in rows(migrated, query)} == members != set()


def test_migration_rebuilds_the_index_from_the_images(migrated: Engine) -> None:
    columns = "audience, deleted, created, sort_key, changed, status_type, min_disk, min_ram, name, server"
    index, entries = (
        rows(migrated, f"SELECT {columns} FROM {table}")  # noqa: S608 no user input
        for table in ("image_index", "image_index_entries")
    )
    assert set(index) == set(entries)
    assert len(index) == len(set(index))


# Projects, filters, and the numbers of the images in a list: if they were imported, and in a replica.
LISTS: list[tuple[str, dict[str, str | int], list[int], list[int]]] = [
    (PROJECT, {}, [2, 15, 1, 3, 5, 7, 11, 12, 13], [2, 15, 1, 3, 5, 7, 11, 12, 13]),
    (OTHER_PROJECT, {}, [2, 15, 1, 4, 5, 6, 11, 12, 8], [2, 15, 1, 4, 5, 6, 11, 12, 8]),
    (THIRD_PROJECT, {}, [2, 15, 1, 5, 11, 12, 13], [2, 15, 1, 5, 11, 12, 13]),
    (FIFTH_PROJECT, {}, [2, 15, 1, 11, 12], [2, 15, 1, 11, 12]),
    (PROJECT, {"limit": 3, "marker": image_id(15)}, [1, 3, 5], [1, 3, 5]),
    (PROJECT, {"min_disk": 10}, [2], [2]),
    (PROJECT, {"min_ram": 2048}, [13], [13]),
    (PROJECT, {"min_ram": 0, "type_": "SERVER"}, [3, 5], [3, 5]),
    (OTHER_PROJECT, {"type_": "backup"}, [4], [4]),
    (PROJECT, {"server": "9168b536-cd40-4630-b43f-b259807c6e87"}, [3, 5], [3, 5]),
    (PROJECT, {"name": "after"}, [11], [11]),
    (PROJECT, {"name": "before"}, [], []),
    (PROJECT, {"status": "ERROR"}, [12], [12]),
    (PROJECT, {"status": "DELETED"}, [9], []),
    (THIRD_PROJECT, {"status": "DELETED"}, [9, 10], [10]),
    (FOURTH_PROJECT, {"changes_since": "2026-11-25T11:59:59Z"}, [14], [15, 14]),
    (PROJECT, {"changes_since": "2023-03-03T03:03:03Z"}, [9, 11], [2, 15, 1, 3, 5, 7, 11, 12, 13]),
    # A replica reports changes ten seconds longer: the first sync was at 10:00:00, another one at 11:59:59.
    (PROJECT, {"changes_since": "2026-11-25T10:00:10Z"}, [], [2, 15, 1, 3, 5, 7, 11, 12, 13]),
    (PROJECT, {"changes_since": "2026-11-25T10:00:11Z"}, [], [15, 11]),
    (PROJECT, {"changes_since": "2026-11-25T12:00:09Z"}, [], [15]),
    (PROJECT, {"changes_since": "2026-11-25T12:00:10Z"}, [], []),
]


def test_migrated_catalog_lists_the_same_images(name: str, migrated: Engine) -> None:
    for project_id, filters, imported, replica in LISTS:
        assert listed(migrated, project_id, **filters) == (replica if name in REPLICAS else imported), filters


TOKENS = [
    Token("01010101", PROJECT, False, "2026-11-25T12:00:00Z", "2027-01-01T00:00:00Z"),
    Token("02020202", OTHER_PROJECT, True, "2026-11-25T12:00:00Z", None),
]


def test_migrated_catalog_has_its_tokens(name: str, migrated: Engine) -> None:
    expected = TOKENS if name[0] in "456789" else []
    assert list_tokens(migrated) == expected
    found = [find_token(migrated, f"images_{each * 4}_{each * 32}") for each in ("01", "02")]
    assert [token for token in found if token] == expected


UPSTREAMS = {
    "5-replica": Upstream(URL, True, 1795607999.625, 5),
    "6-replica": Upstream(URL, True, 1795607999.625, 5),
    "7-replica": Upstream(URL, True, 1795607999.625, 5),
    "8-replica": Upstream(URL, True, 1795607999.625, 5),
    "5-old5-replica": Upstream(URL, True, 0, 0),  # the first version did not record more than the URL
}


def test_migrated_catalog_has_its_upstream(name: str, migrated: Engine) -> None:
    upstream = UPSTREAMS.get(name)
    assert CatalogReader(migrated).upstream() == upstream
    assert read_replica(migrated, URL) == (upstream and (upstream.revision, {}))


# The others have none: migration 3 cannot date earlier tombstones, and writes failed after the first migration 2.
TOMBSTONES = {
    name: {10: "2026-11-25T12:00:00Z", 14: "2026-11-25T12:00:00Z"} for name in ("3", "4", "5", "5-old5", "6", "7", "8")
}
TOMBSTONES |= {name: {10: "2026-11-25T11:26:40Z", 14: "2026-11-25T11:59:59Z"} for name in REPLICAS}


def test_migrated_tombstones_have_their_dates(name: str, migrated: Engine) -> None:
    found = rows(migrated, "SELECT id, deleted_at FROM images WHERE deleted_at IS NOT NULL")
    assert {image_number(id_): deleted_at for id_, deleted_at in found} == TOMBSTONES.get(name, {})


@pytest.mark.parametrize("earlier", IMPORTED)
def test_migrated_catalog_can_be_changed(tmp_path: Path, earlier: str) -> None:
    engine = migrated_catalog(tmp_path, earlier)
    images = stored_images(image(16, minRam=1), image(11, name="again", owner=PROJECT, minDisk=7))
    assert import_images(engine, images, tombstone_days=FOREVER) == ImportResult(new=1, changed=1)
    ImageEditor(engine, tombstone_days=FOREVER).delete(
        RequestContext("", authenticated=ANONYMOUS), PROJECT, image_id(3)
    )
    assert listed(engine) == [2, 15, 1, 5, 7, 11, 12, 13, 16]
    assert listed(engine, min_disk=7) == [11]
    assert listed(engine, status="DELETED") == [3, 9]
    assert add_token(engine, PROJECT, is_admin=False, expires=None)


@pytest.mark.parametrize("earlier", REPLICAS)
def test_mirror_continues_a_migrated_replica(tmp_path: Path, earlier: str) -> None:
    engine = migrated_catalog(tmp_path, earlier)
    narrower = UpstreamSnapshot(Upstream(URL, is_admin=False), stored_images(image(1)), deleted=None)
    with pytest.raises(UpstreamMismatch):  # or it would delete the images that it does not see
        apply_snapshot(engine, narrower, tombstone_days=FOREVER)
    before = UPSTREAMS[earlier]
    snapshot = UpstreamSnapshot(
        before._replace(synced_at=1800000000.0),
        stored_images(image(1, name="new"), image(16)),
        deleted=[image_id(2)],
    )
    assert apply_snapshot(engine, snapshot, tombstone_days=FOREVER) == SyncCounts(new=1, changed=1, deleted=1)
    assert CatalogReader(engine).upstream() == before._replace(synced_at=1800000000.0, revision=before.revision + 1)
    assert listed(engine) == [15, 1, 3, 5, 7, 11, 12, 13, 16]


def test_sync_migrates_an_earlier_catalog(tmp_path: Path) -> None:
    engine = open_catalog(earlier_catalog(tmp_path, "4"))
    sample_ids = [image_id(number) for number in range(1, 16)]
    snapshot = UpstreamSnapshot(Upstream(URL, is_admin=True), stored_images(image(1)), deleted=None)
    counts = apply_snapshot(engine, snapshot, sample_ids=sample_ids, tombstone_days=FOREVER)
    assert counts == SyncCounts(new=1, changed=0, deleted=0)
    assert engine.schema_state() is SchemaState.CURRENT
    assert listed(engine) == [1]


def test_failed_migration_changes_nothing(tmp_path: Path) -> None:
    path = earlier_catalog(tmp_path, "3")
    with closing(Database(path)) as db:
        db.execute("CREATE TABLE status_types (id)")  # which migration 6 creates, after 4 and 5 were applied
        before = db.schema, MIGRATIONS.applied(db)
    with pytest.raises(CatalogUnavailable, match="status_types"):
        ensure_catalog(open_catalog(path), list, tombstone_days=30)
    with closing(Database(path)) as db:
        assert (db.schema, MIGRATIONS.applied(db)) == before
