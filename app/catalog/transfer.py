"""Import and export of images. Each is one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from app.catalog.documents import image_metadata
from app.catalog.engine import COMMAND_TIMEOUT, Engine, SchemaState, Snapshot
from app.catalog.models import ALL_STATED, ImportResult, StoredImage, Unstated, dump_json
from app.catalog.tombstones import write_tombstones
from app.errors import DomainError
from app.timestamps import SYSTEM_CLOCK, Clock

Observe = Callable[[Iterable[StoredImage]], Iterable[StoredImage]]

_BATCH_SIZE = 1000  # images that are looked up at a time


class ImportIntoReplica(DomainError):
    """The catalog is a replica, which takes images from its upstream only."""

    def __init__(self, catalog: str, upstream: str) -> None:
        super().__init__(f"{catalog} is a replica of {upstream}. Import into another catalog.")


def import_images(  # noqa: PLR0913 each is a dependency or a limit
    engine: Engine,
    images: Sequence[StoredImage],
    *,
    tombstone_days: int,
    unstated: Unstated = ALL_STATED,
    owner: str | None = None,
    prune: bool = False,
    observe: Observe = iter,
    clock: Clock = SYSTEM_CLOCK,
) -> ImportResult:
    """Write images, with unique ids, to the catalog. An existing image keeps its position in the order.

    An existing image also keeps the values of its unstated fields, and so never becomes visible to more projects by
    default. This includes who may see a deleted image, as long as it has a tombstone.

    With `prune`, other images of the owner (None: images that nobody owns) become tombstones. Tombstones older than
    `tombstone_days` are purged. `observe` gets the images as they are stored, and yields them again, for example to
    show the progress. Raises ImportIntoReplica, CatalogBusy, CatalogReadOnly and CatalogUnavailable.
    """
    with engine.transaction(timeout=COMMAND_TIMEOUT) as transaction:
        _reject_replica(engine, transaction)
        complete = _complete(transaction, images, unstated, clock) if unstated else images
        new, changed = transaction.upsert_images(observe(complete))
        pruned = 0
        if prune:
            pruned = write_tombstones(transaction, _other_images(transaction, images, owner), clock)
        transaction.purge_tombstones(clock.days_ago(tombstone_days))
    return ImportResult(new, changed, len(images) - new - changed, pruned)


def preview_import(  # noqa: PLR0913 each is a dependency
    engine: Engine,
    images: Sequence[StoredImage],
    *,
    unstated: Unstated = ALL_STATED,
    owner: str | None = None,
    prune: bool = False,
    observe: Observe = iter,
    clock: Clock = SYSTEM_CLOCK,
) -> ImportResult:
    """Return what `import_images` would change. The catalog is neither created nor upgraded nor changed.

    Raises ImportIntoReplica, and CatalogUnavailable for a catalog of an earlier version.
    """
    if engine.schema_state() is SchemaState.EMPTY:
        return ImportResult(new=len(list(observe(images))))
    with engine.open_snapshot() as snapshot:
        _reject_replica(engine, snapshot)
        stored = snapshot.replicated_images([image.id for image in images])
        complete = observe(_complete(snapshot, images, unstated, clock))
        changed = sum(image.id in stored and stored[image.id].image != image for image in complete)
        pruned = len(_other_images(snapshot, images, owner)) if prune else 0
    return ImportResult(len(images) - len(stored), changed, len(stored) - changed, pruned)


def access_problem(image: StoredImage) -> str | None:
    """Return what does not fit together in the owner, the visibility and the members of an image."""
    has_members = image.members != "[]" or image.pending_members != "[]"
    if image.owner is None and (image.visibility == "private" or (image.visibility == "shared" and not has_members)):
        return "without an owner, and private or shared without members: visible to no project"
    if has_members and image.visibility != "shared":
        return "with members that have no effect, because the visibility is not shared"
    return None


def ensure_catalog(engine: Engine, load_sample: Callable[[], Sequence[StoredImage]], *, tombstone_days: int) -> int:
    """Create the catalog from the sample, or upgrade one of an earlier version.

    Returns the number of sample images. Does not write to a catalog of this version. Raises CatalogUnavailable.
    """
    if engine.schema_state() is SchemaState.CURRENT:
        return 0
    sample = load_sample()
    with engine.transaction(timeout=COMMAND_TIMEOUT) as transaction:  # upgrades the schema
        # Another process may have created the catalog while this one waited for it.
        imported, _ = transaction.upsert_images(sample) if transaction.state_before is SchemaState.EMPTY else (0, 0)
        transaction.purge_tombstones(SYSTEM_CLOCK.days_ago(tombstone_days))
    return imported


def export_images(engine: Engine, *, owner: str | None = None, deleted: bool = False) -> Iterator[StoredImage]:
    """Yield all images, or those of one owner, in the order in which they were added; tombstones optional.

    Raises CatalogUnavailable.
    """
    with engine.open_snapshot() as snapshot:
        yield from snapshot.all_images(owner=owner, deleted=deleted)


def _reject_replica(engine: Engine, snapshot: Snapshot) -> None:
    upstream = snapshot.upstream()
    if upstream:
        raise ImportIntoReplica(engine.name, upstream.url)


def _complete(
    snapshot: Snapshot, images: Iterable[StoredImage], unstated: Unstated, clock: Clock
) -> Iterator[StoredImage]:
    """Yield the images with the values that the catalog has of their unstated fields."""
    pending = iter(images)
    while batch := list(islice(pending, _BATCH_SIZE)):
        stored = snapshot.replicated_images([image.id for image in batch if image.id in unstated])
        for image in batch:
            yield _merge(image, stored[image.id].image, unstated[image.id], clock) if image.id in stored else image


def _merge(image: StoredImage, stored: StoredImage, unstated: frozenset[str], clock: Clock) -> StoredImage:
    """Return an image with the stored values of its unstated fields.

    An import makes a deleted image exist again, so its status does not remain. A change is made now, by default. The
    metadata of an image that states none is the item that its server implies, and is added to the stored metadata.
    """
    fields = unstated - {"status", "progress"} if stored.status == "DELETED" else unstated
    merged = replace(image, **{name: getattr(stored, name) for name in fields})
    if "metadata" in fields and (implied := image_metadata(image)):
        merged.metadata = dump_json(image_metadata(stored) | implied)
    if merged.status == "DELETED":
        merged.progress = 0
    if "updated" in fields and merged != stored:
        merged.updated = clock.now()
    return merged


def _other_images(snapshot: Snapshot, images: Iterable[StoredImage], owner: str | None) -> list[StoredImage]:
    """Return the stored images of an owner that are not among the images."""
    ids = {image.id for image in images}
    return [image for image in snapshot.images_of(owner) if image.id not in ids]
