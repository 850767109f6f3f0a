"""Loading and exporting images: what the command does with a catalog, each in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from app.catalog.schema import State, reading, state, writing
from app.faults import CatalogUnavailable
from app.timestamps import now


class Record(NamedTuple):
    """All that the catalog keeps of an image. The metadata and the members are JSON."""

    id: str
    name: str | None
    status: str
    progress: int
    created: str
    updated: str
    min_disk: int
    min_ram: int
    size: int | None
    metadata: str
    owner: str | None
    visibility: str
    members: str


class Loaded(NamedTuple):
    """What loading did to the catalog, in images."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    pruned: int = 0


# An image that is as it was is left alone, and one that changed keeps its place: REPLACE would do neither.
_UPSERT = """
INSERT INTO images ({columns})
VALUES ({values})
ON CONFLICT (id) DO UPDATE SET ({columns}) = ({excluded})
WHERE ({columns}) IS NOT ({excluded})
""".format(
    columns=", ".join(Record._fields),
    values=", ".join("?" for _ in Record._fields),
    excluded=", ".join(f"excluded.{column}" for column in Record._fields),
)

_PRUNE = """
UPDATE images SET status = 'DELETED', progress = 0, updated = :now
WHERE owner IS :owner AND status <> 'DELETED' AND id NOT IN (SELECT id FROM temp.loaded)
"""

_EXPORT = f"""
SELECT {", ".join(Record._fields)} FROM images
WHERE (:owner IS NULL OR owner = :owner) AND (:deleted OR status <> 'DELETED')
ORDER BY position
"""  # noqa: S608 only the names of columns are put in


def load(
    path: Path,
    records: Sequence[Record],
    *,
    owner: str | None = None,
    prune: bool = False,
    watch: Callable[[Sequence[Record]], Iterable[Record]] = iter,
) -> Loaded:
    """Put images into the catalog; what is in it already keeps its place in the order.

    With `prune`, they are all that the owner has (None: all that nobody has): its others become tombstones. `watch`
    passes the records on as they are written. Raises CatalogUnavailable.
    """
    with writing(path) as db:
        before = _count(db)
        written = max(db.conn.executemany(_UPSERT, watch(records)).rowcount, 0)  # -1 when there is nothing to do
        new = _count(db) - before
        pruned = _prune(db, records, owner) if prune else 0
    return Loaded(new, written - new, len(records) - written, pruned)


def prepare(path: Path, sample: Callable[[], Sequence[Record]]) -> int:
    """Bring the file to a catalog of this version: from the sample where there is none, as it is where there is.

    Gives how many images came from the sample. One that is current is not written to. Raises CatalogUnavailable.
    """
    found = state(path)
    if found is State.CURRENT:
        return 0
    return load(path, sample() if found is State.NOTHING else []).new


def export(path: Path, *, owner: str | None = None, deleted: bool = False) -> Iterator[Record]:
    """Give the images of the catalog, or of one owner, in its order; tombstones on demand.

    Raises CatalogUnavailable.
    """
    found = state(path)
    if found is not State.CURRENT:
        raise CatalogUnavailable(f"{path} holds {found.value}")
    with closing(reading(path)) as db:
        yield from map(Record._make, db.execute(_EXPORT, {"owner": owner, "deleted": deleted}))


def _count(db: Database) -> int:
    return int(db.execute("SELECT count(*) FROM images").fetchone()[0])


def _prune(db: Database, records: Sequence[Record], owner: str | None) -> int:
    db.execute("CREATE TEMP TABLE loaded (id TEXT PRIMARY KEY) WITHOUT ROWID")
    db.conn.executemany("INSERT INTO temp.loaded VALUES (?)", ((record.id,) for record in records))
    return int(db.execute(_PRUNE, {"owner": owner, "now": now()}).rowcount)
