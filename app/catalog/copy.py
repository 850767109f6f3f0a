"""Copying what an image service has: what a pass over it found, or a single image, each in one transaction."""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.file import WRITER_WAITS, State, as_unavailable, reading, state, writing
from app.catalog.write import COLUMNS, Record, as_json, bury, clear, purge, write
from app.faults import DomainError
from app.timestamps import now

REASON = "sync_status_reason"  # the item of an image's metadata that tells why it could not be copied


class OtherUpstream(DomainError):
    """A catalog is a copy of another image service than it is to be."""

    def __init__(self, catalog: Path, upstream: str, other: str) -> None:
        super().__init__(f"{catalog} is a copy of {upstream}; a copy of {other} needs a catalog of its own.")


class NotACopy(DomainError):
    """A catalog that is to be a copy has images of its own."""

    def __init__(self, catalog: Path) -> None:
        super().__init__(f"{catalog} has images that were imported; a copy needs a catalog of its own.")


@dataclass(frozen=True)
class Found:
    """What a pass found at an image service: images, why others could not be copied, and which are not there.

    `gone` is None where that is all that the pass did not meet. It began so many milliseconds after 1970.
    """

    url: str
    began: int
    images: Sequence[Record]
    failed: Mapping[str, str] = field(default_factory=dict)
    gone: Collection[str] | None = ()


class Copied(NamedTuple):
    """What a pass did to the catalog, in images."""

    new: int
    changed: int
    deleted: int


class _Held(NamedTuple):
    """An image of the catalog, and when that learned of it last."""

    image: Record
    learned: int | None

    @property
    def is_deleted(self) -> bool:
        return self.image.status == "DELETED"


_UPSTREAM = "SELECT url FROM upstream"
_ALL = f"SELECT {COLUMNS}, learned FROM images"  # noqa: S608 ours
_SOME = f"{_ALL} WHERE id IN (SELECT value FROM json_each(:ids))"  # noqa: S608 likewise


def milliseconds() -> int:
    """Give the time of the call, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def upstream_of(connection: sqlite3.Connection) -> str | None:
    """Give the URL of the image service that a catalog is a copy of; None where it is no copy."""
    row = connection.execute(_UPSTREAM).fetchone()
    return row and str(row[0])


def copies(path: Path, url: str, ids: Collection[str]) -> dict[str, Record] | None:
    """Give what a copy of the image service at the URL has of some images, by their ids; None where there is no copy.

    Raises CatalogUnavailable.
    """
    if state(path) is not State.CURRENT:
        return None
    with closing(reading(path)) as db, as_unavailable(path):
        if upstream_of(db.conn) != url:
            return None
        return {id_: held.image for id_, held in _held(db.conn, ids).items()}


def copy(path: Path, found: Found, *, replaceable: Collection[str] = (), tombstone_days: int) -> Copied:
    """Bring a copy to what a pass found; where that is nothing new, the file is not written to.

    What the catalog learned since the pass began is newer, and stays. A catalog that is no copy yet becomes one; images
    of these ids that it has are removed then. Raises OtherUpstream where it is a copy of others, NotACopy where it has
    images of its own, and what `writing` raises.
    """
    with writing(path) as db:
        _claim(db, path, found.url, replaceable)
        met = {image.id for image in found.images} | found.failed.keys()
        held = _held(db.conn, None if found.gone is None else {*met, *found.gone})
        newer = {id_ for id_, each in held.items() if each.learned is not None and each.learned >= found.began}
        live = {id_: each.image for id_, each in held.items() if id_ not in newer and not each.is_deleted}
        gone = [image for id_, image in live.items() if id_ not in met]
        found_again = [_merged(image, held.get(image.id)) for image in found.images if image.id not in newer]
        failed = [_failed(live[id_], why) for id_, why in found.failed.items() if id_ in live]
        learned = milliseconds()
        deleted = bury(db, gone, learned=learned)
        new, changed = write(db, [*found_again, *failed], learned=learned)
        purge(db, tombstone_days)
    return Copied(new, changed, deleted)


def learn(path: Path, image: Record) -> None:
    """Put an image into a copy that does not have it, not even a tombstone of it. Raises what `writing` raises."""
    with writing(path, patience=WRITER_WAITS) as db:
        if not _held(db.conn, [image.id]):
            write(db, [image], learned=milliseconds())


def learn_change(path: Path, image: Record) -> None:
    """Bring an image of a copy to what it is now, unless the copy knows of a later change.

    Who sees it stays: that is for a pass to find out. Raises what `writing` raises.
    """
    with writing(path, patience=WRITER_WAITS) as db:
        held = _held(db.conn, [image.id]).get(image.id)
        if held and not held.is_deleted and held.image.updated <= image.updated:
            image = image._replace(visibility=held.image.visibility, members=held.image.members)
            write(db, [image], learned=milliseconds())


def learn_end(path: Path, image_id: str, *, tombstone_days: int) -> None:
    """Make an image of a copy a tombstone, unless it is one. Raises what `writing` raises."""
    with writing(path, patience=WRITER_WAITS) as db:
        images = [each.image for each in _held(db.conn, [image_id]).values() if not each.is_deleted]
        bury(db, images, learned=milliseconds())
        purge(db, tombstone_days)


def _claim(db: Database, path: Path, url: str, replaceable: Collection[str]) -> None:
    upstream = upstream_of(db.conn)
    if upstream == url:
        return
    if upstream:
        raise OtherUpstream(path, upstream, url)
    held = _held(db.conn, None)
    if not {id_ for id_, each in held.items() if not each.is_deleted} <= set(replaceable):
        raise NotACopy(path)
    clear(db)
    db.execute("INSERT INTO upstream VALUES (?)", [url])


def _held(connection: sqlite3.Connection, ids: Collection[str] | None) -> dict[str, _Held]:
    """Give what the catalog has of some images, or all that it has."""
    query = _ALL if ids is None else _SOME
    rows = connection.execute(query, {} if ids is None else {"ids": as_json(list(ids))})
    return {row[0]: _Held(Record._make(row[:-1]), row[-1]) for row in rows}


def _merged(image: Record, held: _Held | None) -> Record:
    """Give an image as it was found, changed no earlier than the catalog has it already.

    That it is copied again is a change, of which the image service does not know.
    """
    if held is None:
        return image
    is_copied_again = f'"{REASON}"' in held.image.metadata and held.image.metadata != image.metadata
    return image._replace(updated=max(image.updated, held.image.updated, now() if is_copied_again else ""))


def _failed(image: Record, why: str) -> Record:
    """Give the last good copy of an image, which tells why there is none since."""
    metadata = orjson.loads(image.metadata)
    if metadata.get(REASON) == why:
        return image
    return image._replace(metadata=as_json(metadata | {REASON: why}), updated=max(image.updated, now()))
