"""The files beside the database: the status of the mirror's syncs, and the lock."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogUnavailable
from app.catalog.models import SyncStatus, SyncTotal
from app.errors import MirrorAlreadyRunning

VALID: dict[str, Any] = {
    "synced_at": 1.0,
    "full_synced_at": 1.0,
    "changes_since": "2020-01-01T00:00:00Z",
    "images": 1,
    "failed": {},
    "incomplete": {"a": "b"},
    "error": None,
    "upstream_ids": {"a": "A"},
}
INVALID: dict[str, list[Any]] = {
    "synced_at": ["soon", [1.0], {}, True, -1.0, -1e300],
    "failed": ["abc", None, ["a"], {"a": 1}],
    "incomplete": [None, [], {"a": None}],
    "images": [None, "1", 1.5, -1],
    "changes_since": [1],
    "error": [1],
    "upstream_ids": [None, {"a": 1}],
    "totals": [None, {"full": 1}, {"full": {"count": 1}}, {"full": {"count": -1, "seconds": 0}}],
}
DOCUMENTS: list[Any] = [
    *(None, [], [["synced_at", 1.0]], {}, {"synced_at": 1.0}, {"synced_at": 1.0, "failed": []}, VALID | {"more": 1}),
    *(VALID | {name: value} for name, values in INVALID.items() for value in values),
]
DAMAGE: dict[str, Callable[[Path], Any]] = (
    {
        "missing": lambda file: file.unlink(),
        "a folder": lambda file: (file.unlink(), file.mkdir()),
        "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),  # type: ignore[func-returns-value]
        "empty": lambda file: file.write_bytes(b""),
        "truncated": lambda file: file.write_bytes(file.read_bytes()[:-1]),
        "not text": lambda file: file.write_bytes(b"\xff\xfe"),
    }
    | {
        str(document): lambda file, document=document: file.write_bytes(orjson.dumps(document))
        for document in DOCUMENTS
    }
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_status_is_an_empty_one(path: Path, damage: Callable[[Path], Any]) -> None:
    engine = open_catalog(path)
    engine.write_sync_status(SyncStatus(synced_at=1.0))
    damage(path.with_name("catalog.db.mirror"))
    assert engine.read_sync_status() == SyncStatus()


def test_status_of_an_earlier_version_is_read(path: Path) -> None:
    path.with_name("catalog.db.mirror").write_bytes(orjson.dumps(VALID))
    assert open_catalog(path).read_sync_status() == SyncStatus(**VALID)


def test_status_is_replaced_in_one_file(path: Path) -> None:
    for status in (SyncStatus(synced_at=1.0, totals={"full": SyncTotal(1, 0.5)}), SyncStatus()):
        open_catalog(path).write_sync_status(status)
        assert open_catalog(path).read_sync_status() == status
    assert list(path.parent.iterdir()) == [path.with_name("catalog.db.mirror")]


def test_status_that_cannot_be_written_is_an_error_of_the_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogUnavailable, match=r"none/catalog\.db\.mirror: .*No such file"):
        open_catalog(tmp_path / "none" / "catalog.db").write_sync_status(SyncStatus())


def test_links_to_a_catalog_share_its_status_and_its_lock(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    link, second_link = path.with_name("link.db"), path.parent / "elsewhere" / "second.db"
    link.symlink_to(path.name)
    second_link.symlink_to(link)
    open_catalog(second_link).write_sync_status(SyncStatus(synced_at=1.0))
    for each in (path, link, second_link):
        assert open_catalog(each).read_sync_status() == SyncStatus(synced_at=1.0)
        with (
            open_catalog(path).mirror_lock(),
            pytest.raises(MirrorAlreadyRunning, match=f"^Another mirror, or a restore, already writes to {each}.$"),
            open_catalog(each).mirror_lock(),
        ):
            pass


def test_lock_creates_folders(tmp_path: Path) -> None:
    with open_catalog(tmp_path / "folder" / "catalog.db").mirror_lock():
        pass
    (tmp_path / "file").touch()
    lock = open_catalog(tmp_path / "file" / "catalog.db").mirror_lock()
    with pytest.raises(CatalogUnavailable, match=r"/file/catalog\.db: "), lock:
        pass
