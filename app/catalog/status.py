"""The status of a catalog, whichever engine stores it."""

from collections import Counter
from collections.abc import Iterable

from app.catalog.engine import Engine, SchemaState, Snapshot
from app.catalog.models import JsonObject, SyncStatus, Upstream
from app.resources import version
from app.timestamps import SYSTEM_CLOCK, Clock


def describe_catalog(engine: Engine, *, clock: Clock = SYSTEM_CLOCK) -> JsonObject:
    """Return the state of the catalog, as JSON. The contents of a catalog of an earlier version are left out.

    Raises CatalogMissing, and CatalogUnavailable if it cannot be read.
    """
    info = engine.info()
    is_current = engine.schema_state() is SchemaState.CURRENT
    catalog = {"name": engine.name, **info._asdict(), "is_current": is_current}
    document: JsonObject = {"version": version(), "catalog": catalog}
    if is_current:
        status = engine.read_sync_status()
        with engine.open_snapshot() as snapshot:
            document |= _describe_contents(snapshot, status, clock)
    users = engine.users()
    document["processes"] = None if users is None else [user._asdict() for user in users]
    return document


def _describe_contents(snapshot: Snapshot, status: SyncStatus, clock: Clock) -> JsonObject:
    counts = snapshot.count_images()
    images = [each for each in counts if not each.is_tombstone]
    tokens, now = snapshot.tokens(), clock.now()
    expired = sum(token.is_expired(now) for token in tokens)
    upstream = snapshot.upstream()
    return {
        "images": {
            "count": sum(each.images for each in images),
            "by_status": _sums((each.status, each.images) for each in images),
            "by_visibility": _sums((each.visibility, each.images) for each in images),
        },
        "tombstones": sum(each.images for each in counts if each.is_tombstone),
        "tokens": {"valid": len(tokens) - expired, "expired": expired},
        "mirror": upstream and _describe_mirror(upstream, status, clock),
    }


def _sums(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the total for each name, the highest first."""
    sums = Counter[str]()
    for name, count in counts:
        sums[name] += count
    return dict(sums.most_common())


def _describe_mirror(upstream: Upstream, status: SyncStatus, clock: Clock) -> JsonObject:
    """Return the state of the mirror. Ages are in seconds; images with a problem are listed by id, with the reason."""
    full_synced_at = status.full_synced_at
    return {
        "upstream": upstream.url,
        "age": int(status.age(upstream, clock)),
        "full_sync_age": None if full_synced_at is None else max(0, int(clock.time() - full_synced_at)),
        "error": status.error,
        "failed": dict(status.failed),
        "incomplete": dict(status.incomplete),
    }
