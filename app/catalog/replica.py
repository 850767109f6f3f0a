"""Replicas: catalogs that copy the images of an image service, their upstream. Each change is one transaction."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import orjson

from app.catalog.engine import COMMAND_TIMEOUT, WRITER_TIMEOUT, Engine, SchemaState, Transaction
from app.catalog.models import (
    ImageFailure,
    ReplicatedImage,
    StoredImage,
    SyncCounts,
    SyncMark,
    Upstream,
    UpstreamSnapshot,
    dump_json,
)
from app.catalog.tombstones import write_tombstones
from app.errors import DomainError
from app.timestamps import SYSTEM_CLOCK, Clock

SYNC_STATUS_REASON = "sync_status_reason"  # the metadata item that states why an image could not be copied


class UpstreamMismatch(DomainError):
    """The catalog already replicates another upstream, or the same one with wider access."""

    def __init__(self, catalog: str, upstream: str, other: str) -> None:
        super().__init__(f"{catalog} is a replica of {upstream}. A replica of {other} needs a catalog of its own.")


class CatalogNotEmpty(DomainError):
    """A catalog that is to become a replica has imported images."""

    def __init__(self, catalog: str) -> None:
        super().__init__(f"{catalog} has imported images. A replica needs a catalog of its own.")


def read_replica(engine: Engine, url: str, ids: Collection[str] = ()) -> tuple[int, dict[str, StoredImage]] | None:
    """Return the revision of a replica, and its images with these ids, by id.

    Returns None if the catalog is not a replica of the upstream with this URL. Raises CatalogUnavailable.
    """
    if engine.schema_state() is not SchemaState.CURRENT:
        return None
    with engine.open_snapshot() as snapshot:
        upstream = snapshot.upstream()
        if upstream is None or upstream.url != url:
            return None
        stored = snapshot.replicated_images(ids)
        return upstream.revision, {image_id: each.image for image_id, each in stored.items()}


def read_image_ids(engine: Engine) -> set[str]:
    """Return the ids of all images, without tombstones. Raises CatalogUnavailable."""
    with engine.open_snapshot() as snapshot:
        return snapshot.image_ids()


def apply_snapshot(
    engine: Engine,
    snapshot: UpstreamSnapshot,
    *,
    tombstone_days: int,
    sample_ids: Collection[str] = (),
    clock: Clock = SYSTEM_CLOCK,
) -> SyncCounts:
    """Update the replica to what a sync read. Unchanged images are not written.

    Images that were written after the sync began are newer than the snapshot and are not changed. A catalog without
    images, or with the images of the sample only, becomes a replica. Raises UpstreamMismatch, CatalogNotEmpty, and what
    a transaction raises.
    """
    with engine.transaction(timeout=COMMAND_TIMEOUT) as transaction:
        upstream = _claim_catalog(transaction, engine.name, snapshot.upstream, sample_ids)
        images, deleted = _changes(transaction, snapshot, clock)
        mark = _next_mark(upstream, clock)
        count = write_tombstones(transaction, deleted, clock, mark=mark)
        new, changed = transaction.upsert_images(images, mark=mark)
        transaction.purge_tombstones(clock.days_ago(tombstone_days))
        if new or changed or count:
            synced_at = snapshot.upstream.synced_at
            transaction.set_upstream(upstream._replace(revision=upstream.revision + 1, synced_at=synced_at))
    return SyncCounts(new, changed, count)


def insert_image(
    engine: Engine, url: str, image: StoredImage, *, timeout: float = WRITER_TIMEOUT, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Add an image to a replica, unless it has the image or a tombstone of it. Raises what a transaction raises."""
    with _replica_transaction(engine, url, timeout, clock) as (transaction, mark):
        if not transaction.contains(image.id):
            transaction.upsert_images([image], mark=mark)


def apply_update(
    engine: Engine,
    upstream: Upstream,
    image: StoredImage,
    *,
    timeout: float = WRITER_TIMEOUT,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Apply an upstream change of an image, unless the image was written after `upstream.revision`.

    Visibility and members do not change: only a sync reads them completely. Raises what a transaction raises.
    """
    with _replica_transaction(engine, upstream.url, timeout, clock) as (transaction, mark):
        stored = transaction.replicated_images([image.id]).get(image.id)
        if stored and not stored.is_tombstone and stored.revision <= upstream.revision:
            visible = replace(with_members_of(stored.image, image), visibility=stored.image.visibility)
            transaction.upsert_images([_merge(visible, stored, upstream, clock)], mark=mark)


def apply_delete(  # noqa: PLR0913 each is a dependency or a limit
    engine: Engine,
    url: str,
    image_id: str,
    *,
    tombstone_days: int,
    timeout: float = WRITER_TIMEOUT,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Turn an image of a replica into a tombstone, unless it already is one. Raises what a transaction raises."""
    with _replica_transaction(engine, url, timeout, clock) as (transaction, mark):
        stored = transaction.replicated_images([image_id]).get(image_id)
        if stored and not stored.is_tombstone:
            write_tombstones(transaction, [stored.image], clock, mark=mark)
        transaction.purge_tombstones(clock.days_ago(tombstone_days))


def with_members_of(stored: StoredImage, image: StoredImage) -> StoredImage:
    """Return an image with the members of the stored one."""
    return replace(image, members=stored.members, pending_members=stored.pending_members)


def format_sync_status_reason(reason: str, url: str, image_id: str) -> str:
    """Return the text that states why an image could not be copied, in the form of the API's documentation."""
    return (
        f"ERROR:{reason} occurred during synchronize image the server({url} <{url}/> ) in the image operation. "
        f"image_id={image_id}"
    )


@contextmanager
def _replica_transaction(
    engine: Engine, url: str, timeout: float, clock: Clock
) -> Iterator[tuple[Transaction, SyncMark]]:
    """Write to the replica of an upstream, as its next revision. Raises UpstreamMismatch."""
    with engine.transaction(timeout=timeout) as transaction:
        upstream = transaction.upstream()
        if upstream is None or upstream.url != url:
            raise UpstreamMismatch(engine.name, str(upstream or "no image service"), url)
        yield transaction, _next_mark(upstream, clock)
        transaction.set_upstream(upstream._replace(revision=upstream.revision + 1))


def _next_mark(upstream: Upstream, clock: Clock) -> SyncMark:
    return SyncMark(int(clock.time()), upstream.revision + 1)


def _claim_catalog(transaction: Transaction, name: str, upstream: Upstream, sample_ids: Collection[str]) -> Upstream:
    """Turn the catalog into a replica, or check that it replicates this upstream with the same or narrower access.

    Return the upstream as the catalog has it now.
    """
    current = transaction.upstream()
    if current is None:
        stored = transaction.replicated_images(None)
        if not {image_id for image_id, each in stored.items() if not each.is_tombstone} <= set(sample_ids):
            raise CatalogNotEmpty(name)
        transaction.delete_images()
    elif current.url != upstream.url or (current.is_admin and not upstream.is_admin):
        # Without an administrator's credentials, a sync sees fewer images and would delete the rest.
        raise UpstreamMismatch(name, str(current), str(upstream))
    claimed = upstream if current is None else current._replace(is_admin=upstream.is_admin)
    if claimed != current:
        transaction.set_upstream(claimed)
    return claimed


def _changes(
    transaction: Transaction, snapshot: UpstreamSnapshot, clock: Clock
) -> tuple[list[StoredImage], list[StoredImage]]:
    """Return the images to write, and those to turn into tombstones."""
    seen = {image.id for image in snapshot.images} | snapshot.failed.keys()
    stored = transaction.replicated_images(None if snapshot.deleted is None else {*seen, *snapshot.deleted})
    newer = {image_id for image_id, each in stored.items() if each.revision > snapshot.upstream.revision}
    live = {id_: each.image for id_, each in stored.items() if id_ not in newer and not each.is_tombstone}
    images = [
        _merge(image, stored.get(image.id), snapshot.upstream, clock)
        for image in snapshot.images
        if image.id not in newer
    ]
    images += [
        _with_failure(live[image_id], failure, snapshot.upstream, clock)
        for image_id, failure in snapshot.failed.items()
        if image_id in live
    ]
    return images, [image for image_id, image in live.items() if image_id not in seen]


def _merge(image: StoredImage, stored: ReplicatedImage | None, upstream: Upstream, clock: Clock) -> StoredImage:
    """Return an upstream image whose `updated` is not earlier than that of the stored image.

    Recovery from a failed copy counts as a change, although nothing changed upstream.
    """
    if stored is None:
        return image
    recovered = _has_own_reason(stored.image, upstream) and not _has_own_reason(image, upstream)
    return replace(image, updated=max(image.updated, stored.image.updated, clock.now() if recovered else ""))


def _with_failure(image: StoredImage, failure: ImageFailure, upstream: Upstream, clock: Clock) -> StoredImage:
    """Return the last good copy of an image, with the reason of the failure and, if known, its present access."""
    if failure.access:
        owner, visibility = failure.access
        if image.visibility != visibility:
            image = replace(image, members="[]", pending_members="[]")
        image = replace(image, owner=owner, visibility=visibility)
    metadata = orjson.loads(image.metadata)
    reason = format_sync_status_reason(failure.reason, upstream.url, image.id)
    is_from_upstream = SYNC_STATUS_REASON in metadata and not _has_own_reason(image, upstream)
    if metadata.get(SYNC_STATUS_REASON) == reason or is_from_upstream:
        return image
    changed = dump_json(metadata | {SYNC_STATUS_REASON: reason})
    return replace(image, metadata=changed, updated=max(image.updated, clock.now()))


def _has_own_reason(image: StoredImage, upstream: Upstream) -> bool:
    """Return whether the image's sync status reason was written by this service, not copied from upstream."""
    if SYNC_STATUS_REASON not in image.metadata:  # the usual case, without parsing JSON
        return False
    prefix, suffix = format_sync_status_reason("|", upstream.url, image.id).split("|")
    reason = orjson.loads(image.metadata).get(SYNC_STATUS_REASON) or ""
    return bool(reason.startswith(prefix) and reason.endswith(suffix))
