"""Changing single images, on behalf of those who may."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson
from sqlite_utils import Database

from app.catalog.file import writing
from app.catalog.find import Catalog
from app.catalog.schema import VISIBLE
from app.catalog.write import COLUMNS, Record, as_json, bury, purge, write
from app.faults import ImageNotFound, NotAllowed, TooManyItems
from app.settings import Settings
from app.tenants import comparable
from app.timestamps import now

Metadata = dict[str, str | None]

MOST_ITEMS = 128  # of the metadata of an image, as Nova has it

_IMAGE = f"SELECT {COLUMNS} FROM images WHERE id = :id AND status <> 'DELETED' AND {VISIBLE}"  # noqa: S608 ours


class _Change(NamedTuple):
    """An image that is being changed, in a transaction of its own."""

    db: Database
    image: Record


class Changes:
    """What the API does to a catalog: each change comes to be whole, or not at all, and waits for other writers.

    Each raises ImageNotFound where the tenant sees no such image, NotAllowed where it sees one of somebody else, and
    CatalogUnavailable.
    """

    def __init__(self, path: Path, *, tombstone_days: int = Settings.tombstone_days) -> None:
        self._catalog = Catalog(path)
        self._path = path
        self._tombstone_days = tombstone_days

    def delete(self, tenant: str, image_id: str) -> None:
        """Make an image a tombstone."""
        with self._change(tenant, image_id) as change:
            bury(change.db, [change.image])

    def edit_metadata(self, tenant: str, image_id: str, edit: Callable[[Metadata], Metadata]) -> Metadata:
        """Give an image the metadata that the function makes of those that it has; and give them back.

        Raises TooManyItems, and whatever the function raises, where nothing is changed.
        """
        with self._change(tenant, image_id) as change:
            before: Metadata = orjson.loads(change.image.metadata)
            metadata = edit(before)
            if len(metadata) > MOST_ITEMS and metadata.keys() - before.keys():  # a file may have brought more
                raise TooManyItems(len(metadata), MOST_ITEMS)
            write(change.db, [change.image._replace(metadata=as_json(metadata), updated=now())])
        return metadata

    @contextmanager
    def _change(self, tenant: str, image_id: str) -> Iterator[_Change]:
        caller = comparable(tenant)
        self._catalog.check()  # or a file that is gone would be made anew
        with writing(self._path) as db:
            row = db.execute(_IMAGE, {"id": image_id, "tenant": caller}).fetchone()
            if row is None:
                raise ImageNotFound
            image = Record._make(row)
            if image.owner not in {caller, None}:
                raise NotAllowed(image_id)
            yield _Change(db, image)
            purge(db, self._tombstone_days)
