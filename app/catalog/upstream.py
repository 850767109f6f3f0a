"""What a copy learns of its image service: from a pass over all, or of one image, each in one transaction."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.file import WRITER_WAITS, State, as_unavailable, reading, state, writing
from app.catalog.write import COLUMNS, Learned, Record, as_json, bury, clear, purge, write
from app.faults import DomainError
from app.timestamps import now

REASON = "sync_status_reason"  # the item of an image's metadata that tells why it could not be copied


class OtherUpstream(DomainError):
    """A catalog is a copy of another image service than it is to be, or of more of it."""

    def __init__(self, catalog: Path, upstream: str, other: str) -> None:
        super().__init__(f"{catalog} is a copy of {upstream}; a copy of {other} needs a catalog of its own.")


class NotACopy(DomainError):
    """A catalog that is to be a copy has images of its own."""

    def __init__(self, catalog: Path) -> None:
        super().__init__(f"{catalog} has images that were imported; a copy needs a catalog of its own.")


class Upstream(NamedTuple):
    """An image service: its URL, whether it is seen as administrators see it, and how far a copy of it is.

    `good` is when the last pass began that found something new, in seconds since 1970; `turn` counts what was learned.
    """

    url: str
    is_admin: bool
    good: float = 0
    turn: int = 0

    def __str__(self) -> str:
        return f"{self.url}, as administrators see it" if self.is_admin else self.url


class Failure(NamedTuple):
    """What happened instead of an image being copied; and who owns and sees it now, where so much is known."""

    what: str
    audience: tuple[str | None, str] | None = None


@dataclass(frozen=True)
class Found:
    """What a pass found: images, why others could not be copied, and which are not there.

    `gone` is None where that is all that the pass did not meet. It knows nothing of what was learned after the turn.
    """

    upstream: Upstream
    images: Sequence[Record]
    failed: Mapping[str, Failure] = field(default_factory=dict)
    gone: Collection[str] | None = ()


class Copied(NamedTuple):
    """What a pass did to the catalog, in images."""

    new: int
    changed: int
    deleted: int


class _Held(NamedTuple):
    """An image of the catalog, and the turn in which it was learned."""

    image: Record
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


def look_at(path: Path, url: str, ids: Collection[str] = ()) -> tuple[int, dict[str, Record]] | None:
    """Give the turn of a copy of what is at the URL, and what it has of some images; None where there is no such copy.

    Raises CatalogUnavailable.
    """
    if state(path) is not State.CURRENT:
        return None
    with closing(reading(path)) as db, as_unavailable(path):
        upstream = upstream_of(db.conn)
        if upstream is None or upstream.url != url:
            return None
        return upstream.turn, {id_: held.image for id_, held in _held(db.conn, ids).items()}


def copy_found(path: Path, found: Found, *, replaceable: Collection[str] = (), tombstone_days: int) -> Copied:
    """Bring a copy to what a pass found; where that is nothing new, the file is not written to.

    What the catalog learned since the pass began is newer, and stays. A catalog that is no copy yet becomes one; images
    of these ids that it has are removed then. Raises OtherUpstream where it is a copy of others, NotACopy where it has
    images of its own, and what `writing` raises.
    """
    with writing(path) as db:
        _claim(db, path, found.upstream, replaceable)
        met = {image.id for image in found.images} | found.failed.keys()
        held = _held(db.conn, None if found.gone is None else {*met, *found.gone})
        newer = {id_ for id_, each in held.items() if each.turn > found.upstream.turn}
        live = {id_: each.image for id_, each in held.items() if id_ not in newer and not each.is_deleted}
        gone = [image for id_, image in live.items() if id_ not in met]
        images = [_merged(image, held.get(image.id), found.upstream) for image in found.images if image.id not in newer]
        failed = [_failed(live[id_], each, found.upstream) for id_, each in found.failed.items() if id_ in live]
        learned = _next_turn(db)
        deleted = bury(db, gone, learned=learned)
        new, changed = write(db, [*images, *failed], learned=learned)
        purge(db, tombstone_days)
        if new or changed or deleted:
            db.execute("UPDATE upstream SET turn = ?, good = ?", [learned.turn, found.upstream.good])
    return Copied(new, changed, deleted)


def learn(path: Path, url: str, image: Record) -> None:
    """Put an image into a copy that does not have it, not even a tombstone of it. Raises what `writing` raises."""
    with _learning(path, url, image.id) as (db, held, learned):
        if held is None:
            write(db, [image], learned=learned)


def learn_change(path: Path, upstream: Upstream, image: Record) -> None:
    """Bring an image of a copy to what it is since a turn, unless it was learned anew meanwhile.

    Who sees it stays: that is for a pass to find out. Raises what `writing` raises.
    """
    with _learning(path, upstream.url, image.id) as (db, held, learned):
        if held and not held.is_deleted and held.turn <= upstream.turn:
            seen = image._replace(visibility=held.image.visibility, members=held.image.members)
            write(db, [_merged(seen, held, upstream)], learned=learned)


def learn_end(path: Path, url: str, image_id: str, *, tombstone_days: int) -> None:
    """Make an image of a copy a tombstone, unless it is one. Raises what `writing` raises."""
    with _learning(path, url, image_id) as (db, held, learned):
        if held and not held.is_deleted:
            bury(db, [held.image], learned=learned)
        purge(db, tombstone_days)


def status_reason(what: str, url: str, image_id: str) -> str:
    """Say why an image could not be copied, as the API's own documentation shows it."""
    return (
        f"ERROR:{what} occurred during synchronize image the server({url} <{url}/> ) in the image operation. "
        f"image_id={image_id}"
    )


@contextmanager
def _learning(path: Path, url: str, image_id: str) -> Iterator[tuple[Database, _Held | None, Learned]]:
    """Give the database of a copy that is to learn of an image, what it has of it, and when it learns."""
    with writing(path, patience=WRITER_WAITS) as db:
        upstream = upstream_of(db.conn)
        if upstream is None or upstream.url != url:
            raise OtherUpstream(path, str(upstream), url)
        learned = _next_turn(db)
        yield db, _held(db.conn, [image_id]).get(image_id), learned
        db.execute("UPDATE upstream SET turn = ?", [learned.turn])


def _next_turn(db: Database) -> Learned:
    return Learned(int(time.time()), db.execute("SELECT turn + 1 FROM upstream").fetchone()[0])


def _claim(db: Database, path: Path, found: Upstream, replaceable: Collection[str]) -> None:
    upstream = upstream_of(db.conn)
    if upstream is None:
        if not {id_ for id_, each in _held(db.conn, None).items() if not each.is_deleted} <= set(replaceable):
            raise NotACopy(path)
        clear(db)
        db.execute("INSERT INTO upstream VALUES (?, ?, ?, ?)", found)
    elif upstream.url != found.url or (upstream.is_admin and not found.is_admin):  # who sees less would delete the rest
        raise OtherUpstream(path, str(upstream), str(found))
    elif upstream.is_admin != found.is_admin:
        db.execute("UPDATE upstream SET is_admin = ?", [found.is_admin])


def _held(connection: sqlite3.Connection, ids: Collection[str] | None) -> dict[str, _Held]:
    """Give what the catalog has of some images, or all that it has."""
    query = _ALL if ids is None else _SOME
    rows = connection.execute(query, {} if ids is None else {"ids": as_json(list(ids))})
    return {row[0]: _Held(Record._make(row[:-1]), row[-1]) for row in rows}


def _merged(image: Record, held: _Held | None, upstream: Upstream) -> Record:
    """Give an image as it was found, changed no earlier than the catalog has it already.

    That it is copied again is a change, of which the image service does not know.
    """
    if held is None:
        return image
    is_copied_again = _has_our_reason(held.image, upstream) and not _has_our_reason(image, upstream)
    return image._replace(updated=max(image.updated, held.image.updated, now() if is_copied_again else ""))


def _failed(image: Record, failure: Failure, upstream: Upstream) -> Record:
    """Give the last good copy of an image, which tells why there is none since; it is shown to whom it is for now."""
    if failure.audience:
        owner, visibility = failure.audience
        members = image.members if image.visibility == visibility else "[]"
        image = image._replace(owner=owner, visibility=visibility, members=members)
    metadata = orjson.loads(image.metadata)
    reason = status_reason(failure.what, upstream.url, image.id)
    if metadata.get(REASON) == reason or (REASON in metadata and not _has_our_reason(image, upstream)):
        return image
    return image._replace(metadata=as_json(metadata | {REASON: reason}), updated=max(image.updated, now()))


def _has_our_reason(image: Record, upstream: Upstream) -> bool:
    """Tell whether an image's metadata say that it could not be copied here, and not what the image service says."""
    if REASON not in image.metadata:  # as a rule
        return False
    begin, end = status_reason("|", upstream.url, image.id).split("|")
    reason = orjson.loads(image.metadata).get(REASON) or ""
    return bool(reason.startswith(begin) and reason.endswith(end))
