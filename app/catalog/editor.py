"""Changes of single images on behalf of API callers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import orjson

from app.catalog.engine import WRITER_TIMEOUT, Engine, Snapshot, Transaction
from app.catalog.models import Metadata, StoredImage, Upstream, dump_json
from app.catalog.tombstones import write_tombstones
from app.context import RequestContext
from app.errors import ImageNotFound, MetadataQuotaExceeded, NotImageOwner, ReplicaReadOnly
from app.text import normalize_project_id
from app.timestamps import SYSTEM_CLOCK, Clock

MAX_METADATA_ITEMS = 128  # for each image: Nova's default quota

MetadataEdit = Callable[[Metadata], Metadata]


class Editor(Protocol):
    """The changes that the API offers. Both methods raise ImageNotFound if the project cannot see the image."""

    def delete(self, context: RequestContext, project_id: str, image_id: str) -> None:
        """Delete an image."""

    def edit_metadata(self, context: RequestContext, project_id: str, image_id: str, edit: MetadataEdit) -> Metadata:
        """Replace the metadata of an image with the result of `edit` for it. Return the new metadata."""


class ImageEditor:
    """Changes images in the catalog. Each change is one transaction.

    A project may change the images that it owns. Administrators may also change images that nobody owns. The methods
    raise ImageNotFound if the project cannot see the image, NotImageOwner if it may not change it, ReplicaReadOnly if
    the catalog is a replica, CatalogBusy, CatalogReadOnly and CatalogUnavailable.
    """

    def __init__(
        self, engine: Engine, *, tombstone_days: int, timeout: float = WRITER_TIMEOUT, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._engine = engine
        self._tombstone_days = tombstone_days
        self._timeout = timeout
        self._clock = clock

    def delete(self, context: RequestContext, project_id: str, image_id: str) -> None:
        """Turn an image into a tombstone."""
        with self._edit(context, project_id, image_id) as (transaction, image):
            write_tombstones(transaction, [image], self._clock)

    def edit_metadata(self, context: RequestContext, project_id: str, image_id: str, edit: MetadataEdit) -> Metadata:
        """Replace the metadata of an image with the result of `edit` for it. Return the new metadata.

        Raises MetadataQuotaExceeded, and whatever `edit` raises.
        """
        with self._edit(context, project_id, image_id) as (transaction, image):
            before: Metadata = orjson.loads(image.metadata)
            metadata = edit(before)
            check_metadata_quota(before, metadata)
            updated = max(self._clock.now(), image.updated)  # an import may set a future time
            transaction.upsert_images([replace(image, metadata=dump_json(metadata), updated=updated)])
        return metadata

    def get_editable_image(
        self, context: RequestContext, project_id: str, image_id: str
    ) -> tuple[StoredImage, Upstream | None]:
        """Return an image that the caller may change, and the upstream if the catalog is a replica."""
        with self._engine.snapshot() as snapshot:
            return _get_editable_image(snapshot, context, project_id, image_id), snapshot.upstream()

    @contextmanager
    def _edit(
        self, context: RequestContext, project_id: str, image_id: str
    ) -> Iterator[tuple[Transaction, StoredImage]]:
        # Check before the transaction, so that a request that will be rejected does not wait for other writers.
        _, upstream = self.get_editable_image(context, project_id, image_id)
        if upstream is not None:
            raise ReplicaReadOnly(image_id, upstream.url)
        with self._engine.transaction(timeout=self._timeout) as transaction:
            yield transaction, _get_editable_image(transaction, context, project_id, image_id)
            transaction.purge_tombstones(self._clock.days_ago(self._tombstone_days))


def check_metadata_quota(before: Metadata, after: Metadata) -> None:
    """Raise MetadataQuotaExceeded if an edit adds items beyond the quota. An imported image may exceed it already."""
    if len(after) > MAX_METADATA_ITEMS and after.keys() - before.keys():
        raise MetadataQuotaExceeded(len(after), MAX_METADATA_ITEMS)


def _get_editable_image(snapshot: Snapshot, context: RequestContext, project_id: str, image_id: str) -> StoredImage:
    """Return an image that the project owns, or that nobody owns if the caller is an administrator.

    Raises ImageNotFound if the project cannot see the image, and NotImageOwner.
    """
    caller = context.caller  # raises unless the request was authenticated
    project = normalize_project_id(project_id)
    image = snapshot.find_image(project, image_id)
    if image is None or image.status == "DELETED":
        raise ImageNotFound
    if image.owner != project and not (image.owner is None and caller.is_admin):
        raise NotImageOwner(image_id)
    return image
