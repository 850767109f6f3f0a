"""What a copy learns of its image service: from a pass over all, or of one image, each in one transaction."""

import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.models import ImageFailure, StoredImage, SyncCounts, SyncMark, Upstream, UpstreamSnapshot, dump_json
from app.catalog.sqlite.database import (
    WRITER_TIMEOUT,
    SchemaState,
    open_reader,
    schema_state,
    transaction,
    translate_errors,
)
from app.catalog.sqlite.writer import COLUMNS, delete_all, purge_tombstones, upsert_images, write_tombstones
from app.errors import DomainError
from app.timestamps import now

SYNC_STATUS_REASON = "sync_status_reason"  # the item of an image's metadata that tells why it could not be copied


class UpstreamMismatch(DomainError):
    """A catalog is a copy of another image service than it is to be, or of more of it."""

    def __init__(self, catalog: Path, upstream: str, other: str) -> None:
        super().__init__(f"{catalog} is a copy of {upstream}; a copy of {other} needs a catalog of its own.")


class CatalogNotEmpty(DomainError):
    """A catalog that is to be a copy has images of its own."""

    def __init__(self, catalog: Path) -> None:
        super().__init__(f"{catalog} has images that were imported; a copy needs a catalog of its own.")


class _ReplicatedImage(NamedTuple):
    """An image of the catalog, and the turn in which it was learned."""

    image: StoredImage
    turn: int

    @property
    def is_deleted(self) -> bool:
        return self.image.status == "DELETED"


_UPSTREAM = f"SELECT {', '.join(Upstream._fields)} FROM upstream"  # noqa: S608 ours
_ALL = f"SELECT {COLUMNS}, coalesce(turn, 0) FROM images"  # noqa: S608 ours
_SOME = f"{_ALL} WHERE id IN (SELECT value FROM json_each(:ids))"  # noqa: S608 ours


def upstream_of(connection: sqlite3.Connection) -> Upstream | None:
    """Tell which image service a catalog is a copy of; None where it is no copy."""
    row = connection.execute(_UPSTREAM).fetchone()
    return row and Upstream._make(row)


def read_replica(path: Path, url: str, ids: Collection[str] = ()) -> tuple[int, dict[str, StoredImage]] | None:
    """Give the turn of a copy of what is at the URL, and what it has of some images; None where there is no such copy.

    Raises CatalogUnavailable.
    """
    if schema_state(path) is not SchemaState.CURRENT:
        return None
    with closing(open_reader(path)) as db, translate_errors(path):
        upstream = upstream_of(db.conn)
        if upstream is None or upstream.url != url:
            return None
        return upstream.turn, {id_: held.image for id_, held in _read_images(db.conn, ids).items()}


def apply_snapshot(
    path: Path, found: UpstreamSnapshot, *, replaceable: Collection[str] = (), tombstone_days: int
) -> SyncCounts:
    """Bring a copy to what a pass found; where that is nothing new, the file is not written to.

    What the catalog learned since the pass began is newer, and stays. A catalog that is no copy yet becomes one; images
    of these ids that it has are removed then. Raises OtherUpstream where it is a copy of others, NotACopy where it has
    images of its own, and what `writing` raises.
    """
    with transaction(path) as db:
        _claim_catalog(db, path, found.upstream, replaceable)
        met = {image.id for image in found.images} | found.failed.keys()
        held = _read_images(db.conn, None if found.gone is None else {*met, *found.gone})
        newer = {id_ for id_, each in held.items() if each.turn > found.upstream.turn}
        live = {id_: each.image for id_, each in held.items() if id_ not in newer and not each.is_deleted}
        gone = [image for id_, image in live.items() if id_ not in met]
        images = [_merge(image, held.get(image.id), found.upstream) for image in found.images if image.id not in newer]
        failed = [_with_failure(live[id_], each, found.upstream) for id_, each in found.failed.items() if id_ in live]
        learned = _next_sync_mark(db)
        deleted = write_tombstones(db, gone, learned=learned)
        new, changed = upsert_images(db, [*images, *failed], learned=learned)
        purge_tombstones(db, tombstone_days)
        if new or changed or deleted:
            db.execute("UPDATE upstream SET turn = ?, good = ?", [learned.turn, found.upstream.good])
    return SyncCounts(new, changed, deleted)


def insert_image(path: Path, url: str, image: StoredImage) -> None:
    """Put an image into a copy that does not have it, not even a tombstone of it. Raises what `writing` raises."""
    with _replica_transaction(path, url, image.id) as (db, held, learned):
        if held is None:
            upsert_images(db, [image], learned=learned)


def apply_update(path: Path, upstream: Upstream, image: StoredImage) -> None:
    """Bring an image of a copy to what it is since a turn, unless it was learned anew meanwhile.

    Who sees it stays: that is for a pass to find out. Raises what `writing` raises.
    """
    with _replica_transaction(path, upstream.url, image.id) as (db, held, learned):
        if held and not held.is_deleted and held.turn <= upstream.turn:
            seen = image._replace(visibility=held.image.visibility, members=held.image.members)
            upsert_images(db, [_merge(seen, held, upstream)], learned=learned)


def apply_delete(path: Path, url: str, image_id: str, *, tombstone_days: int) -> None:
    """Make an image of a copy a tombstone, unless it is one. Raises what `writing` raises."""
    with _replica_transaction(path, url, image_id) as (db, held, learned):
        if held and not held.is_deleted:
            write_tombstones(db, [held.image], learned=learned)
        purge_tombstones(db, tombstone_days)


def format_sync_status_reason(what: str, url: str, image_id: str) -> str:
    """Say why an image could not be copied, as the API's own documentation shows it."""
    return (
        f"ERROR:{what} occurred during synchronize image the server({url} <{url}/> ) in the image operation. "
        f"image_id={image_id}"
    )


@contextmanager
def _replica_transaction(
    path: Path, url: str, image_id: str
) -> Iterator[tuple[Database, _ReplicatedImage | None, SyncMark]]:
    """Give the database of a copy that is to learn of an image, what it has of it, and when it learns."""
    with transaction(path, patience=WRITER_TIMEOUT) as db:
        upstream = upstream_of(db.conn)
        if upstream is None or upstream.url != url:
            raise UpstreamMismatch(path, str(upstream), url)
        learned = _next_sync_mark(db)
        yield db, _read_images(db.conn, [image_id]).get(image_id), learned
        db.execute("UPDATE upstream SET turn = ?", [learned.turn])


def _next_sync_mark(db: Database) -> SyncMark:
    return SyncMark(int(time.time()), db.execute("SELECT turn + 1 FROM upstream").fetchone()[0])


def _claim_catalog(db: Database, path: Path, found: Upstream, replaceable: Collection[str]) -> None:
    upstream = upstream_of(db.conn)
    if upstream is None:
        if not {id_ for id_, each in _read_images(db.conn, None).items() if not each.is_deleted} <= set(replaceable):
            raise CatalogNotEmpty(path)
        delete_all(db)
        db.execute("INSERT INTO upstream VALUES (?, ?, ?, ?)", found)
    elif upstream.url != found.url or (upstream.is_admin and not found.is_admin):  # who sees less would delete the rest
        raise UpstreamMismatch(path, str(upstream), str(found))
    elif upstream.is_admin != found.is_admin:
        db.execute("UPDATE upstream SET is_admin = ?", [found.is_admin])


def _read_images(connection: sqlite3.Connection, ids: Collection[str] | None) -> dict[str, _ReplicatedImage]:
    """Give what the catalog has of some images, or all that it has."""
    query = _ALL if ids is None else _SOME
    rows = connection.execute(query, {} if ids is None else {"ids": dump_json(list(ids))})
    return {row[0]: _ReplicatedImage(StoredImage._make(row[:-1]), row[-1]) for row in rows}


def _merge(image: StoredImage, held: _ReplicatedImage | None, upstream: Upstream) -> StoredImage:
    """Give an image as it was found, changed no earlier than the catalog has it already.

    That it is copied again is a change, of which the image service does not know.
    """
    if held is None:
        return image
    is_copied_again = _has_own_sync_status_reason(held.image, upstream) and not _has_own_sync_status_reason(
        image, upstream
    )
    return image._replace(updated=max(image.updated, held.image.updated, now() if is_copied_again else ""))


def _with_failure(image: StoredImage, failure: ImageFailure, upstream: Upstream) -> StoredImage:
    """Give the last good copy of an image, which tells why there is none since; it is shown to whom it is for now."""
    if failure.audience:
        owner, visibility = failure.audience
        members = image.members if image.visibility == visibility else "[]"
        image = image._replace(owner=owner, visibility=visibility, members=members)
    metadata = orjson.loads(image.metadata)
    reason = format_sync_status_reason(failure.what, upstream.url, image.id)
    if metadata.get(SYNC_STATUS_REASON) == reason or (
        SYNC_STATUS_REASON in metadata and not _has_own_sync_status_reason(image, upstream)
    ):
        return image
    return image._replace(
        metadata=dump_json(metadata | {SYNC_STATUS_REASON: reason}), updated=max(image.updated, now())
    )


def _has_own_sync_status_reason(image: StoredImage, upstream: Upstream) -> bool:
    """Tell whether an image's metadata say that it could not be copied here, and not what the image service says."""
    if SYNC_STATUS_REASON not in image.metadata:  # as a rule
        return False
    begin, end = format_sync_status_reason("|", upstream.url, image.id).split("|")
    reason = orjson.loads(image.metadata).get(SYNC_STATUS_REASON) or ""
    return bool(reason.startswith(begin) and reason.endswith(end))
