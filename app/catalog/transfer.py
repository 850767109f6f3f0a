"""Loading and exporting images: what the command does with a catalog, each in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from sqlite_utils import Database

from app.catalog.models import ImportResult, StoredImage
from app.catalog.replica import upstream_of
from app.catalog.sqlite.database import SchemaState, open_current, schema_state, transaction
from app.catalog.sqlite.writer import COLUMNS, purge_tombstones, upsert_images, write_tombstones
from app.errors import DomainError
from app.settings import Settings


class ImportIntoReplica(DomainError):
    """A catalog that is a copy is to take other images."""

    def __init__(self, catalog: Path, upstream: str) -> None:
        super().__init__(f"{catalog} is a copy of {upstream}: what is imported needs a catalog of its own.")


_OWNED = f"SELECT {COLUMNS} FROM images WHERE owner IS :owner AND status <> 'DELETED'"  # noqa: S608 as below

_EXPORT = f"""
SELECT {COLUMNS} FROM images
WHERE (:owner IS NULL OR owner = :owner) AND (:deleted OR status <> 'DELETED')
ORDER BY position
"""  # noqa: S608 only the names of columns are put in


def import_images(  # noqa: PLR0913 one for each thing that the command can be told
    path: Path,
    records: Sequence[StoredImage],
    *,
    owner: str | None = None,
    prune: bool = False,
    tombstone_days: int = Settings.tombstone_days,
    watch: Callable[[Sequence[StoredImage]], Iterable[StoredImage]] = iter,
) -> ImportResult:
    """Put images into the catalog, each id once; what is in it already keeps its place in the order.

    With `prune`, they are all that the owner has (None: all that nobody has): its others become tombstones, which are
    purged by the first change after so many days. `watch` passes the records on as they are written. Raises
    ImportIntoCopy, and what `writing` raises.
    """
    with transaction(path) as db:
        upstream = upstream_of(db.conn)
        if upstream:
            raise ImportIntoReplica(path, upstream.url)
        new, changed = upsert_images(db, watch(records))
        pruned = write_tombstones(db, _images_not_in(db, records, owner)) if prune else 0
        purge_tombstones(db, tombstone_days)
    return ImportResult(new, changed, len(records) - new - changed, pruned)


def ensure_catalog(path: Path, sample: Callable[[], Sequence[StoredImage]]) -> int:
    """Bring the file to a catalog of this version: from the sample where there is none, as it is where there is.

    Gives how many images came from the sample. One that is current is not written to. Raises CatalogUnavailable.
    """
    match schema_state(path):
        case SchemaState.NOTHING:
            with suppress(ImportIntoReplica):  # a mirror was faster
                return import_images(path, sample()).new
        case SchemaState.OLDER:
            with transaction(path):  # which is enough
                pass
    return 0


def export_images(path: Path, *, owner: str | None = None, deleted: bool = False) -> Iterator[StoredImage]:
    """Give the images of the catalog, or of one owner, in its order; tombstones on demand.

    Raises CatalogUnavailable.
    """
    with closing(open_current(path)) as db:
        yield from map(StoredImage._make, db.execute(_EXPORT, {"owner": owner, "deleted": deleted}))


def _images_not_in(db: Database, records: Sequence[StoredImage], owner: str | None) -> list[StoredImage]:
    """Give what the owner has that is not among the records."""
    kept = {record.id for record in records}
    owned = map(StoredImage._make, db.execute(_OWNED, {"owner": owner}))
    return [record for record in owned if record.id not in kept]
