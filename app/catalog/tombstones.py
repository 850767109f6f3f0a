"""Tombstones: deleted images that `changes-since` still lists for some time."""

from collections.abc import Iterable
from dataclasses import replace

from app.catalog.engine import Transaction
from app.catalog.models import StoredImage, SyncMark
from app.timestamps import Clock


def write_tombstones(
    transaction: Transaction, images: Iterable[StoredImage], clock: Clock, *, mark: SyncMark | None = None
) -> int:
    """Turn images of the catalog into tombstones that are purged later. Return how many were written."""
    now = clock.now()
    tombstones = (
        replace(image, status="DELETED", progress=0, updated=max(now, image.updated))  # an import may set a future time
        for image in images
    )
    _, changed = transaction.upsert_images(tombstones, deleted_at=now, mark=mark)
    return changed
