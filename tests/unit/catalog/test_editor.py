"""Changes of the catalog: tombstones and their end, and who may change what at the same time."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from app import timestamps
from app.catalog import editor as change
from app.catalog.editor import ImageEditor
from app.catalog.sqlite.database import open_reader, transaction
from app.catalog.sqlite.reader import CatalogReader
from app.catalog.transfer import export_images, import_images
from app.errors import CatalogBusy, ImageNotFound, NotImageOwner
from tests.support.images import catalog_of, image, image_id, records_of

ME = "11111111111111111111111111111111"


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give a list to which days are added that have gone by."""
    gone: list[int] = []

    class Clock:
        """Stands in for the class that tells the time."""

        def now(self, zone: tzinfo) -> datetime:
            return datetime.now(zone) + timedelta(days=sum(gone))

    monkeypatch.setattr(timestamps, "datetime", Clock())
    return gone


def ids(path: Path) -> list[int]:
    return [int(record.id[-12:]) for record in export_images(path, deleted=True)]


def touch(path: Path) -> None:
    ImageEditor(CatalogReader(path), tombstone_days=30).edit_metadata(
        ME, image_id(9), lambda items: items, is_admin=True
    )


def test_a_tombstone_is_purged_by_the_first_change_after_its_days(tmp_path: Path, days: list[int]) -> None:
    path = catalog_of(tmp_path, image(1), image(2), image(9))
    ImageEditor(CatalogReader(path)).delete(ME, image_id(1), is_admin=True)
    days.append(29)
    touch(path)
    assert ids(path) == [1, 2, 9]
    days.append(2)
    assert ids(path) == [1, 2, 9]
    touch(path)
    assert ids(path) == [2, 9]
    with closing(open_reader(path)) as db:
        assert db.execute("SELECT count(*) FROM listings").fetchone() == (2,)


def test_an_import_purges_too_and_what_it_prunes_is_purged_in_its_time(tmp_path: Path, days: list[int]) -> None:
    path = catalog_of(tmp_path, image(1), image(2))
    import_images(path, records_of(image(2)), prune=True)
    days.append(8)
    import_images(path, records_of(image(3)), tombstone_days=7)
    assert ids(path) == [2, 3]


def test_a_tombstone_that_a_file_brought_is_data_and_stays(tmp_path: Path, days: list[int]) -> None:
    path = catalog_of(tmp_path, image(1, status="DELETED"), image(9))
    days.append(1000)
    touch(path)
    assert ids(path) == [1, 9]


def test_an_image_that_comes_back_is_not_purged(tmp_path: Path, days: list[int]) -> None:
    path = catalog_of(tmp_path, image(1), image(9))
    ImageEditor(CatalogReader(path)).delete(ME, image_id(1), is_admin=True)
    import_images(path, records_of(image(1)))
    days.append(1000)
    touch(path)
    assert ids(path) == [1, 9]


def test_changes_at_the_same_time_are_all_made(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(9))
    changes = ImageEditor(CatalogReader(path))

    def add(number: int) -> None:
        changes.edit_metadata(ME, image_id(9), lambda items: items | {str(number): ""}, is_admin=True)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(40)))
    (record,) = export_images(path)
    assert record.metadata.count('""') == 40


def test_what_changed_is_never_dated_back(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1, updated="2100-01-01T00:00:00Z"), image(9, updated="2100-01-01T00:00:00Z"))
    ImageEditor(CatalogReader(path)).delete(ME, image_id(1), is_admin=True)
    touch(path)
    assert [record.updated for record in export_images(path, deleted=True)] == ["2100-01-01T00:00:00Z"] * 2


def test_what_can_only_be_refused_does_not_wait_for_others(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1, owner="2" * 32))
    changes = ImageEditor(CatalogReader(path))
    with transaction(path):
        with pytest.raises(ImageNotFound):
            changes.delete(ME, image_id(99), is_admin=True)
        with pytest.raises(NotImageOwner):
            changes.delete(ME, image_id(1), is_admin=True)


def test_a_change_waits_for_others_for_some_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "WRITER_TIMEOUT", 0.1)
    path = catalog_of(tmp_path, image(1))
    with transaction(path), pytest.raises(CatalogBusy):
        ImageEditor(CatalogReader(path)).delete(ME, image_id(1), is_admin=True)
    assert ids(path) == [1]


def test_who_may_change_an_image_is_judged_when_it_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = catalog_of(tmp_path, image(1, owner=ME))

    def given_away(*args: object, **options: object) -> object:
        import_images(path, records_of(image(1, owner="2" * 32)))
        return transaction(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(change, "transaction", given_away)
    with pytest.raises(NotImageOwner):
        ImageEditor(CatalogReader(path)).delete(ME, image_id(1), is_admin=False)
    assert ids(path) == [1]
