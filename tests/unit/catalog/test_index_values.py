"""Which lists include an image, its type and its server: the Python code yields what SQLite's schema yields."""

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path

from app.catalog.engine import COMMAND_TIMEOUT
from app.catalog.engines import open_catalog
from app.catalog.index_values import listing_projects, type_and_server
from tests.support.catalogs import execute
from tests.support.images import Fields, image, stored_images
from tests.support.projects import OTHER_PROJECT, PROJECT

MEMBERS: tuple[list[str], ...] = ([], [PROJECT], [OTHER_PROJECT], [PROJECT, OTHER_PROJECT])
ACCESS = {
    "visibility": ("public", "community", "shared", "private"),
    "os_hidden": (False, True),
    "owner": (None, PROJECT),
    "members": MEMBERS,
    "pending_members": MEMBERS,
    "status": ("ACTIVE", "DELETED", "ERROR"),
}
METADATA = {
    "instance_uuid": (None, "", "server", "SERVER"),
    "image_type": (None, "", "snapshot", "backup", "Snapshot", "base", "instance_uuid"),
}
LISTED = """
SELECT DISTINCT image_index_entries.id, project_id FROM image_index_entries JOIN audiences ON audiences.id = audience
"""


def combinations(values: Mapping[str, Iterable[object]]) -> list[Fields]:
    return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


def test_python_agrees_with_sqlite_for_all_combinations(tmp_path: Path) -> None:
    cases = [*combinations(ACCESS), {}, *({"metadata": each} for each in combinations(METADATA))]
    images = stored_images(*(image(number, **fields) for number, fields in enumerate(cases)))
    with open_catalog(location := str(tmp_path / "catalog.db")).transaction(timeout=COMMAND_TIMEOUT) as transaction:
        transaction.upsert_images(images)
    listed = {(each.id, project_id) for each in images for project_id in listing_projects(each)}
    assert set(execute(location, LISTED)) == listed
    assert execute(location, "SELECT id, type, server FROM images ORDER BY id") == [
        (each.id, *type_and_server(each)) for each in images
    ]
