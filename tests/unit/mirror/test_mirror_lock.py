"""The engine's lock, which only one mirror of a catalog can have."""

import os
from pathlib import Path

import pytest

from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogUnavailable
from app.errors import MirrorAlreadyRunning


def test_second_mirror_of_a_catalog_is_rejected(tmp_path: Path) -> None:
    catalog = tmp_path / "folder" / "catalog.db"
    link = tmp_path / "link.db"
    link.symlink_to(catalog)
    with open_catalog(catalog).mirror_lock():
        for path in (catalog, link):
            error = str(MirrorAlreadyRunning(str(path)))
            assert str(path) in error
            with pytest.raises(MirrorAlreadyRunning, match=f"^{error}$"), open_catalog(path).mirror_lock():
                pass
        with open_catalog(tmp_path / "folder" / "other.db").mirror_lock():
            pass


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_lock_is_released_by_every_exception(tmp_path: Path, error: type[BaseException]) -> None:
    engine = open_catalog(tmp_path / "catalog.db")
    with pytest.raises(error), engine.mirror_lock():
        raise error
    with engine.mirror_lock():
        pass


def test_folder_that_cannot_be_created_makes_the_catalog_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(CatalogUnavailable, match=r"/file/catalog\.db: "),
        open_catalog(tmp_path / "file" / "catalog.db").mirror_lock(),
    ):
        pass


def test_pipe_in_the_place_of_the_lock_makes_the_catalog_unavailable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "catalog.db.mirror-lock")
    with pytest.raises(CatalogUnavailable), open_catalog(tmp_path / "catalog.db").mirror_lock():
        pass
