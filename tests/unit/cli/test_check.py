"""The command `check`: what it finds, what it advises, and its exit code."""

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlite_utils import Database

from app import cli
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogMissing
from app.catalog.models import SyncStatus
from app.catalog.tokens import add_token
from tests.support.catalogs import execute, is_missing, state
from tests.support.images import catalog_at, catalog_of, image
from tests.support.projects import OTHER_PROJECT, PROJECT


def check(location: str | Path) -> tuple[int, list[str]]:
    """Return the exit code, and the lines without the name of the catalog."""
    result = CliRunner(env={"IMAGES_CATALOG": str(location)}).invoke(cli.main, ["check"], catch_exceptions=False)
    return result.exit_code, result.output.replace(open_catalog(location).name, "PATH").splitlines()


def test_catalog_without_problems(location: str) -> None:
    catalog_at(location, image(1), image(2, owner=PROJECT, visibility="private"), image(3, status="DELETED"))
    before = state(location)
    assert check(location) == (0, ["PATH has no problems."])
    assert state(location) == before


def test_missing_catalog_is_an_error(location: str) -> None:
    assert check(location) == (1, [f"Error: {CatalogMissing('PATH')}"])
    assert is_missing(location)


def test_catalog_of_an_earlier_version_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with closing(Database(path)) as db:
        db.conn.executescript((Path(__file__).parents[1] / "catalog/sqlite/earlier/5.sql").read_text())
    line = (
        "Warning: PATH holds a catalog of an earlier version; serve, import, mirror, token add and migrate upgrade it. "
        "What to do: back it up before the upgrade."
    )
    assert check(path) == (0, [line])


@pytest.mark.parametrize(
    ("statement", "table", "missing", "surplus"),
    [
        ("DELETE FROM image_index", "index of the lists", 3, 0),
        ("UPDATE image_index SET min_disk = 9", "index of the lists", 3, 3),
        ("DELETE FROM image_members", "table of members", 2, 0),
        ("UPDATE image_members SET sequence = 9", "table of members", 2, 2),
    ],
)
def test_table_that_differs_from_the_images_is_an_error(
    location: str, statement: str, table: str, missing: int, surplus: int
) -> None:
    shared = image(2, visibility="shared", members=[PROJECT], pending_members=[OTHER_PROJECT])
    execute(catalog_at(location, image(1), shared, image(3)), statement)
    code, (line,) = check(location)
    problem = f"Error: PATH: the {table} lacks {missing} entries, and has {surplus} that belong to no image."
    assert (code, line.partition(" What to do: ")[0]) == (1, problem)


@pytest.mark.parametrize(
    ("mode", "token", "visibility", "warning"),
    [
        (0o644, False, "public", None),
        (0o644, True, "public", "read"),
        (0o644, False, "private", "read"),
        (0o640, True, "public", "read"),
        (0o600, True, "private", None),
        (0o666, False, "public", "write to"),
        (0o660, False, "public", "write to"),
    ],
)
def test_file_that_others_can_access_is_a_warning(
    tmp_path: Path, mode: int, token: bool, visibility: str, warning: str | None
) -> None:
    path = catalog_of(tmp_path, image(1, visibility=visibility))
    if token:
        add_token(open_catalog(path), PROJECT, is_admin=False, expires=None)
    path.chmod(mode)
    code, lines = check(path)
    assert (code, len(lines)) == (0, 1)
    assert lines[0].startswith(f"Warning: other users can {warning} PATH" if warning else "PATH has no problems.")


def test_other_file_or_folder_that_others_can_access_is_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    path = catalog_of(tmp_path, image(1, visibility="private"))
    open_catalog(path).write_sync_status(SyncStatus())
    folder.mkdir()
    (folder / "link.db").symlink_to(path)
    path.with_name("catalog.db.mirror").chmod(0o620)
    tmp_path.chmod(0o777)
    assert check(folder / "link.db") == (
        0,
        [
            f"Warning: other users can write to {path}.mirror. What to do: chmod go-rw {path}.mirror.",
            f"Warning: everybody can add files to {tmp_path}. What to do: chmod o-w {tmp_path}.",
        ],
    )
