"""The command `status`: its text and its JSON."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from sqlite_utils import Database

from app import cli
from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogMissing
from app.catalog.models import SyncStatus, Upstream
from app.catalog.sqlite.info import find_users
from app.catalog.status import describe_catalog
from app.catalog.tokens import add_token
from app.resources import version
from tests.integration.server.service import session
from tests.support.catalogs import postgresql_only, sqlite_only
from tests.support.clock import FakeClock
from tests.support.images import catalog_at, image, image_id
from tests.support.projects import PROJECT

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Only Linux lists locks")
EARLIER = Path(__file__).parents[1] / "catalog/sqlite/earlier/5.sql"


@pytest.fixture
def engine(location: str) -> Engine:
    private = {"visibility": "private", "owner": PROJECT}
    catalog_at(location, image(1), image(2, **private), image(3, status="ERROR"), image(4, status="DELETED"))
    return open_catalog(location)


def status(location: str, *options: str) -> str:
    result = CliRunner(env={"IMAGES_CATALOG": location}).invoke(cli.main, ["status", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_status_counts_images_tombstones_and_tokens(engine: Engine) -> None:
    clock = FakeClock()
    for expires in (None, clock.now(offset=1), clock.now()):
        add_token(engine, PROJECT, is_admin=False, expires=expires)
    document = describe_catalog(engine, clock=clock)
    assert document["images"] == {
        "count": 3,
        "by_status": {"ACTIVE": 2, "ERROR": 1},
        "by_visibility": {"public": 2, "private": 1},
    }
    assert (document["tombstones"], document["tokens"], document["mirror"]) == (1, {"valid": 2, "expired": 1}, None)


def test_status_names_the_version_and_the_database(engine: Engine, location: str) -> None:
    document = orjson.loads(status(location, "--json"))["catalog"]
    size, migration = document.pop("bytes"), document.pop("migration")
    assert document == {"name": engine.name, "migrated_by": version(), "is_current": True}
    if location.startswith("postgresql:"):
        assert (size > 0, migration) == (True, "2: covering indexes")
    else:
        assert (size, migration) == (Path(location).stat().st_size, "9: covering indexes")


def test_status_lists_every_image_that_the_mirror_could_not_copy(engine: Engine, location: str) -> None:
    clock = FakeClock()
    with engine.transaction(timeout=1) as transaction:
        transaction.set_upstream(Upstream("http://glance.test", is_admin=True, synced_at=clock.time() - 9.5))
    mirror = describe_catalog(engine, clock=clock)["mirror"]
    assert (mirror["age"], mirror["full_sync_age"]) == (9, None)
    failed = {image_id(number): "too long" for number in range(150)}
    engine.write_sync_status(
        SyncStatus(clock.time() - 5, clock.time() - 60, failed=failed, incomplete={"a": "b"}, error="A timeout")
    )
    assert describe_catalog(engine, clock=clock)["mirror"] == {
        "upstream": "http://glance.test",
        "age": 5,
        "full_sync_age": 60,
        "error": "A timeout",
        "failed": failed,
        "incomplete": {"a": "b"},
    }
    text = status(location)
    assert "\nMirror      of http://glance.test\n            last successful sync: " in text
    assert "\n            the last sync failed: A timeout\n            150 images not copied\n" in text
    assert f"\n              {image_id(149)}: too long\n            1 images not copied completely\n" in text


@linux_only
@sqlite_only
def test_status_names_the_processes_that_use_the_catalog(engine: Engine, tmp_path: Path) -> None:
    script = (
        "import sys; from app.catalog.engines import open_catalog; engine = open_catalog(sys.argv[1])\n"
        "with engine.mirror_lock(), engine.transaction(timeout=1), engine.open_snapshot():\n"
        "    print('ready', flush=True); import signal; signal.pause()"
    )
    assert describe_catalog(engine)["processes"] == []
    assert "\nProcesses   none has the catalog open\n" in status(engine.name)
    command = (sys.executable, "-c", script, engine.name)
    with session(command, tmp_path, {}, output=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"ready\n"
        (process,) = describe_catalog(engine)["processes"]
        assert process.pop("command").startswith(f"{sys.executable} -c import sys; ")
        assert process == {"pid": other.pid, "is_writing": True, "is_mirror": True, "host": None}
        assert f"\nProcesses   {other.pid} mirror, writes now: {sys.executable} -c import sys; " in status(engine.name)


@postgresql_only
def test_status_names_the_connections_of_all_machines(engine: Engine, location: str) -> None:
    with engine.mirror_lock(), engine.transaction(timeout=1) as transaction:
        transaction.delete_images()
        (process,) = describe_catalog(engine)["processes"]
        pid = process.pop("pid")
        assert f"\nProcesses   127.0.0.1 {pid} mirror, writes now: compute-images" in status(location)
    assert process == {"command": "compute-images", "is_writing": True, "is_mirror": True, "host": "127.0.0.1"}


@sqlite_only
def test_processes_are_unknown_where_no_lock_shows_them(engine: Engine) -> None:
    with closing(Database(engine.name)) as db:
        db.disable_wal()
    assert find_users(Path(engine.name)) is None
    assert "\nProcesses   unknown: " in status(engine.name)


def test_status_of_an_empty_catalog(location: str) -> None:
    lines = status(catalog_at(location)).splitlines()
    assert lines[3:7] == ["Images      0", "Tombstones  0", "Tokens      0 valid, 0 expired", "Mirror      none"]


def test_status_of_an_earlier_version_leaves_out_the_contents(tmp_path: Path) -> None:
    engine = open_catalog(tmp_path / "catalog.db")
    with closing(Database(engine.name)) as db:
        db.conn.executescript(EARLIER.read_text())
    document = describe_catalog(engine)
    assert document.keys() == {"version", "catalog", "processes"}
    assert (document["catalog"]["migration"], document["catalog"]["migrated_by"]) == ("5: upstream", None)
    assert status(engine.name).splitlines()[2:4] == [
        '            last migration "5: upstream", by version unknown',
        "            a catalog of an earlier version; serve, import, mirror, token add and migrate upgrade it",
    ]


def test_missing_catalog_is_an_error(location: str) -> None:
    result = CliRunner(env={"IMAGES_CATALOG": location}).invoke(cli.main, ["status"])
    assert (result.exit_code, result.stderr) == (1, f"Error: {CatalogMissing(open_catalog(location).name)}\n")
