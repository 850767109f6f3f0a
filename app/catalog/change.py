"""Changing single images, on behalf of those who may."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import orjson
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.file import WRITER_WAITS, writing
from app.catalog.find import Catalog
from app.catalog.schema import SHOWN
from app.catalog.upstream import Upstream, upstream_of
from app.catalog.write import COLUMNS, Record, as_json, bury, purge, write
from app.faults import CopyReadOnly, ImageNotFound, NotAllowed, TooManyItems
from app.settings import Settings
from app.tenants import comparable
from app.timestamps import now

Metadata = dict[str, str | None]

MOST_ITEMS = 128  # of the metadata of an image, as Nova has it

_IMAGE = f"SELECT {COLUMNS} FROM images WHERE {SHOWN}"  # noqa: S608 ours


class _Change(NamedTuple):
    """An image that is being changed, in a transaction of its own."""

    db: Database
    image: Record


class Changes:
    """What the API does to a catalog: each change comes to be whole, or not at all, and waits for other writers.

    What nobody owns is changed by administrators. Each raises ImageNotFound where the tenant sees no such image,
    NotAllowed where it sees one that it may not change, CopyReadOnly where the catalog is a copy, CatalogBusy,
    CatalogReadOnly and CatalogUnavailable.
    """

    def __init__(self, catalog: Catalog, *, tombstone_days: int = Settings.tombstone_days) -> None:
        self._catalog = catalog
        self._tombstone_days = tombstone_days

    def delete(self, tenant: str, image_id: str, *, is_admin: bool) -> None:
        """Make an image a tombstone."""
        with self._change(tenant, image_id, is_admin=is_admin) as change:
            bury(change.db, [change.image])

    def edit_metadata(
        self, tenant: str, image_id: str, edit: Callable[[Metadata], Metadata], *, is_admin: bool
    ) -> Metadata:
        """Give an image the metadata that the function makes of those that it has; and give them back.

        Raises TooManyItems, and whatever the function raises, where nothing is changed.
        """
        with self._change(tenant, image_id, is_admin=is_admin) as change:
            before: Metadata = orjson.loads(change.image.metadata)
            metadata = edit(before)
            check_count(before, metadata)
            updated = max(now(), change.image.updated)  # which a file may have in the future
            write(change.db, [change.image._replace(metadata=as_json(metadata), updated=updated)])
        return metadata

    @contextmanager
    def _change(self, tenant: str, image_id: str, *, is_admin: bool) -> Iterator[_Change]:
        # Looked for at first, or what can only be refused would wait for others who write.
        _, upstream = self._look(tenant, image_id, is_admin=is_admin)
        if upstream is not None:
            raise CopyReadOnly(image_id, upstream.url)
        with writing(self._catalog.path, patience=WRITER_WAITS) as db:
            yield _Change(db, _changeable(db.conn, tenant, image_id, is_admin=is_admin))
            purge(db, self._tombstone_days)

    def _look(self, tenant: str, image_id: str, *, is_admin: bool) -> tuple[Record, Upstream | None]:
        """Give an image that the tenant may change, and which image service it was copied from, if it was."""
        with self._catalog.snapshot() as connection:
            return _changeable(connection, tenant, image_id, is_admin=is_admin), upstream_of(connection)


def check_count(before: Metadata, after: Metadata) -> None:
    """Raise TooManyItems where an image would get more items than it may have. A file may have brought more."""
    if len(after) > MOST_ITEMS and after.keys() - before.keys():
        raise TooManyItems(len(after), MOST_ITEMS)


def _changeable(connection: sqlite3.Connection, tenant: str, image_id: str, *, is_admin: bool) -> Record:
    """Give an image that the tenant may change: one that it sees, and that is its own, or an administrator's."""
    caller = comparable(tenant)
    row = connection.execute(_IMAGE, {"id": image_id, "tenant": caller}).fetchone()
    if row is None:
        raise ImageNotFound
    image = Record._make(row)
    if image.owner != caller and not (image.owner is None and is_admin):
        raise NotAllowed(image_id)
    return image
