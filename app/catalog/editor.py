"""Changing single images, on behalf of those who may."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import orjson
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.models import Metadata, StoredImage, Upstream, dump_json
from app.catalog.replica import upstream_of
from app.catalog.sqlite.database import WRITER_TIMEOUT, transaction
from app.catalog.sqlite.reader import CatalogReader
from app.catalog.sqlite.schema import SHOWN
from app.catalog.sqlite.writer import COLUMNS, purge_tombstones, upsert_images, write_tombstones
from app.errors import ImageNotFound, MetadataQuotaExceeded, NotImageOwner, ReplicaReadOnly
from app.settings import Settings
from app.text import normalize_project_id
from app.timestamps import now

MAX_METADATA_ITEMS = 128  # of the metadata of an image, as Nova has it

_IMAGE = f"SELECT {COLUMNS} FROM images WHERE {SHOWN}"  # noqa: S608 ours


class _Change(NamedTuple):
    """An image that is being changed, in a transaction of its own."""

    db: Database
    image: StoredImage


class ImageEditor:
    """What the API does to a catalog: each change comes to be whole, or not at all, and waits for other writers.

    What nobody owns is changed by administrators. Each raises ImageNotFound where the tenant sees no such image,
    NotAllowed where it sees one that it may not change, CopyReadOnly where the catalog is a copy, CatalogBusy,
    CatalogReadOnly and CatalogUnavailable.
    """

    def __init__(self, catalog: CatalogReader, *, tombstone_days: int = Settings.tombstone_days) -> None:
        self._catalog = catalog
        self._tombstone_days = tombstone_days

    def delete(self, tenant: str, image_id: str, *, is_admin: bool) -> None:
        """Make an image a tombstone."""
        with self._change(tenant, image_id, is_admin=is_admin) as change:
            write_tombstones(change.db, [change.image])

    def edit_metadata(
        self, tenant: str, image_id: str, edit: Callable[[Metadata], Metadata], *, is_admin: bool
    ) -> Metadata:
        """Give an image the metadata that the function makes of those that it has; and give them back.

        Raises TooManyItems, and whatever the function raises, where nothing is changed.
        """
        with self._change(tenant, image_id, is_admin=is_admin) as change:
            before: Metadata = orjson.loads(change.image.metadata)
            metadata = edit(before)
            check_metadata_quota(before, metadata)
            updated = max(now(), change.image.updated)  # which a file may have in the future
            upsert_images(change.db, [change.image._replace(metadata=dump_json(metadata), updated=updated)])
        return metadata

    @contextmanager
    def _change(self, tenant: str, image_id: str, *, is_admin: bool) -> Iterator[_Change]:
        # Looked for at first, or what can only be refused would wait for others who write.
        _, upstream = self._look(tenant, image_id, is_admin=is_admin)
        if upstream is not None:
            raise ReplicaReadOnly(image_id, upstream.url)
        with transaction(self._catalog.path, patience=WRITER_TIMEOUT) as db:
            yield _Change(db, _get_owned_image(db.conn, tenant, image_id, is_admin=is_admin))
            purge_tombstones(db, self._tombstone_days)

    def _look(self, tenant: str, image_id: str, *, is_admin: bool) -> tuple[StoredImage, Upstream | None]:
        """Give an image that the tenant may change, and which image service it was copied from, if it was."""
        with self._catalog.snapshot() as connection:
            return _get_owned_image(connection, tenant, image_id, is_admin=is_admin), upstream_of(connection)


def check_metadata_quota(before: Metadata, after: Metadata) -> None:
    """Raise TooManyItems where an image would get more items than it may have. A file may have brought more."""
    if len(after) > MAX_METADATA_ITEMS and after.keys() - before.keys():
        raise MetadataQuotaExceeded(len(after), MAX_METADATA_ITEMS)


def _get_owned_image(connection: sqlite3.Connection, tenant: str, image_id: str, *, is_admin: bool) -> StoredImage:
    """Give an image that the tenant may change: one that it sees, and that is its own, or an administrator's."""
    caller = normalize_project_id(tenant)
    row = connection.execute(_IMAGE, {"id": image_id, "tenant": caller}).fetchone()
    if row is None:
        raise ImageNotFound
    image = StoredImage._make(row)
    if image.owner != caller and not (image.owner is None and is_admin):
        raise NotImageOwner(image_id)
    return image
