"""Moves of a catalog from one engine to the other, by a backup and by an export."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from app import cli
from app.catalog.backup import back_up_catalog, restore_catalog
from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogDamaged, CatalogUnavailable
from app.catalog.tokens import add_token, find_token
from tests.support.catalogs import PostgreSQLCatalogs, add_images, exported_numbers, sqlite_catalogs
from tests.support.clock import FakeClock
from tests.support.images import image
from tests.support.postgresql import Cluster
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.unit.catalog.replicas import Replica
from tests.unit.catalog.sqlite.earlier_catalogs import earlier_catalog
from tests.unit.catalog.test_backup import STATUS
from tests.unit.catalog.test_copying import contents

pytestmark = pytest.mark.external


class Move(NamedTuple):
    """The locations of a catalog, which does not exist yet, with one engine and with the other."""

    source: str
    target: str


@pytest.fixture(params=[False, True], ids=["to PostgreSQL", "to SQLite"])
def move(request: pytest.FixtureRequest, postgresql: Cluster, tmp_path: Path) -> Iterator[Move]:
    with sqlite_catalogs(tmp_path) as file, PostgreSQLCatalogs(postgresql)(tmp_path) as database:
        locations = file("catalog"), database("catalog")
        yield Move(*(reversed(locations) if request.param else locations))


@pytest.fixture
def source(move: Move) -> Iterator[Engine]:
    with closing(open_catalog(move.source)) as engine:
        yield engine


@pytest.fixture
def target(move: Move) -> Iterator[Engine]:
    with closing(open_catalog(move.target)) as engine:
        yield engine


def run(location: str, *arguments: str, **options: str) -> str:
    result = CliRunner(env={"IMAGES_CATALOG": location}).invoke(cli.main, arguments, **options)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("is_empty", [True, False])
def test_backup_moves_everything(source: Engine, target: Engine, tmp_path: Path, is_empty: bool) -> None:
    replica = Replica(source, FakeClock())
    replica.sync(image(3), image(1, visibility="shared", owner=PROJECT), image(2))
    replica.sync(image(1), image(2))
    source.write_sync_status(STATUS)
    token = add_token(source, PROJECT, is_admin=True, expires=None)
    if not is_empty:
        add_images(target, image(1, owner=OTHER_PROJECT, visibility="private"), image(9))
    back_up_catalog(source, file := tmp_path / "backup", replace=False)
    assert (file.stat().st_mode & 0o777, list(tmp_path.glob("backup?*"))) == (0o600, [])
    restore_catalog(target, file, replace=not is_empty)
    assert contents(target) == contents(source)
    assert target.read_sync_status() == STATUS
    assert find_token(target, token) == find_token(source, token) is not None
    assert [each for each in target.check() if not each.is_warning] == []


def test_export_moves_images_and_tombstones_in_their_order(move: Move, source: Engine) -> None:
    shared = image(3, visibility="shared", owner=PROJECT, members=[OTHER_PROJECT], pending_members=["b" * 32])
    add_images(source, shared, image(4, status="DELETED", progress=0), image(1, name="\U0001f5bc"))
    exported = run(move.source, "export", "--deleted")
    run(move.target, "import", "-", input=exported)
    assert run(move.target, "export", "--deleted") == exported


def test_failed_restore_changes_nothing(source: Engine, target: Engine, tmp_path: Path) -> None:
    add_images(source, *(image(number, name="x" * 200) for number in range(100)))
    source.backup(file := tmp_path / "backup")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    add_images(target, image(7))
    target.write_sync_status(STATUS)
    before = contents(target), target.read_sync_status()
    with pytest.raises(CatalogDamaged):
        target.restore(file, timeout=1)
    assert (contents(target), target.read_sync_status()) == before


def test_unwritable_folder_fails_the_backup(source: Engine, tmp_path: Path) -> None:
    add_images(source, image(1))
    with pytest.raises(CatalogUnavailable, match="missing"):
        source.backup(tmp_path / "missing" / "backup")


def test_backup_of_an_earlier_version_is_migrated(target: Engine, tmp_path: Path) -> None:
    target.restore(earlier_catalog(tmp_path, "5"), timeout=1)
    assert exported_numbers(target)


def test_report_of_a_backup_names_the_program_of_the_database(move: Move, source: Engine, tmp_path: Path) -> None:
    add_images(source, image(1))
    result = CliRunner(env={"IMAGES_CATALOG": move.source}).invoke(cli.main, ["backup", str(tmp_path / "backup")])
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"Backed up {source.name} to {tmp_path}/backup: ")
    assert ["pg_dump" in line for line in lines[1:]] == ([True] if move.source.startswith("postgresql:") else [])
