"""Loading and exporting images: what the command does with a catalog, each in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database

from app.catalog.file import State, current, state, writing
from app.catalog.upstream import upstream_of
from app.catalog.write import COLUMNS, Record, bury, purge, write
from app.faults import DomainError
from app.settings import Settings


class ImportIntoCopy(DomainError):
    """A catalog that is a copy is to take other images."""

    def __init__(self, catalog: Path, upstream: str) -> None:
        super().__init__(f"{catalog} is a copy of {upstream}: what is imported needs a catalog of its own.")


class Loaded(NamedTuple):
    """What loading did to the catalog, in images."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    pruned: int = 0


_OWNED = f"SELECT {COLUMNS} FROM images WHERE owner IS :owner AND status <> 'DELETED'"  # noqa: S608 as below

_EXPORT = f"""
SELECT {COLUMNS} FROM images
WHERE (:owner IS NULL OR owner = :owner) AND (:deleted OR status <> 'DELETED')
ORDER BY position
"""  # noqa: S608 only the names of columns are put in


def load(  # noqa: PLR0913 one for each thing that the command can be told
    path: Path,
    records: Sequence[Record],
    *,
    owner: str | None = None,
    prune: bool = False,
    tombstone_days: int = Settings.tombstone_days,
    watch: Callable[[Sequence[Record]], Iterable[Record]] = iter,
) -> Loaded:
    """Put images into the catalog, each id once; what is in it already keeps its place in the order.

    With `prune`, they are all that the owner has (None: all that nobody has): its others become tombstones, which are
    purged by the first change after so many days. `watch` passes the records on as they are written. Raises
    ImportIntoCopy, and what `writing` raises.
    """
    with writing(path) as db:
        upstream = upstream_of(db.conn)
        if upstream:
            raise ImportIntoCopy(path, upstream.url)
        new, changed = write(db, watch(records))
        pruned = bury(db, _others(db, records, owner)) if prune else 0
        purge(db, tombstone_days)
    return Loaded(new, changed, len(records) - new - changed, pruned)


def prepare(path: Path, sample: Callable[[], Sequence[Record]]) -> int:
    """Bring the file to a catalog of this version: from the sample where there is none, as it is where there is.

    Gives how many images came from the sample. One that is current is not written to. Raises CatalogUnavailable.
    """
    match state(path):
        case State.NOTHING:
            with suppress(ImportIntoCopy):  # a mirror was faster
                return load(path, sample()).new
        case State.OLDER:
            with writing(path):  # which is enough
                pass
    return 0


def export(path: Path, *, owner: str | None = None, deleted: bool = False) -> Iterator[Record]:
    """Give the images of the catalog, or of one owner, in its order; tombstones on demand.

    Raises CatalogUnavailable.
    """
    with closing(current(path)) as db:
        yield from map(Record._make, db.execute(_EXPORT, {"owner": owner, "deleted": deleted}))


def _others(db: Database, records: Sequence[Record], owner: str | None) -> list[Record]:
    """Give what the owner has that is not among the records."""
    kept = {record.id for record in records}
    owned = map(Record._make, db.execute(_OWNED, {"owner": owner}))
    return [record for record in owned if record.id not in kept]
