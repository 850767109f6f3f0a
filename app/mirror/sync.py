"""Full and incremental syncs of the catalog with an image service. Each is applied in one transaction."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from app.catalog.engine import Engine
from app.catalog.errors import CatalogUnavailable
from app.catalog.models import StoredImage, SyncCounts, SyncStatus, Upstream, UpstreamSnapshot
from app.catalog.replica import apply_snapshot, read_image_ids, read_replica
from app.mirror.client import GlanceClient, UpstreamError
from app.mirror.collector import ImageCollector, list_images
from app.timestamps import SYSTEM_CLOCK, Clock, format_utc, seconds

# Glance's times have a resolution of one second, and a change that starts earlier than another may be committed later.
_OVERLAP_SECONDS = 60

ProgressReporter = Callable[[Iterable[list[Any]], int], Iterable[list[Any]]]


class SyncFailed(Exception):
    """A sync failed, and a later one may succeed. The catalog contains its changes completely or not at all."""


class SyncReport(NamedTuple):
    """The result of a sync: the number of images, the changes to the catalog, and the duration.

    Images that could not be copied, or not completely, are listed by id, with the reasons.
    """

    is_full: bool
    images: int
    counts: SyncCounts
    failed: Mapping[str, str]
    incomplete: Mapping[str, str]
    seconds: float


class Mirror:
    """Copies the images of a Glance into a catalog."""

    def __init__(  # noqa: PLR0913 each is a dependency or a limit
        self,
        connect: Callable[[], GlanceClient],
        engine: Engine,
        *,
        tombstone_days: int,
        sample_ids: Collection[str],
        progress: ProgressReporter,
        clock: Clock = SYSTEM_CLOCK,
        overlap_seconds: float = _OVERLAP_SECONDS,
    ) -> None:
        """Set a function that connects to Glance, and one that wraps the pages of a full sync to report progress.

        Images with the sample ids are removed from a catalog that becomes a replica.
        """
        self._connect = connect
        self._engine = engine
        self._tombstone_days = tombstone_days
        self._sample_ids = sample_ids
        self._progress = progress
        self._clock = clock
        self._overlap_seconds = overlap_seconds

    @cached_property
    def _glance(self) -> GlanceClient:
        return self._connect()

    @property
    def last_full_sync(self) -> float | None:
        """Return the start time of the last successful full sync (Unix time), if any. Raises SyncFailed."""
        try:
            return self._engine.read_sync_status().full_synced_at
        except CatalogUnavailable as error:
            raise SyncFailed(str(error)) from error

    def sync(self, *, full: bool) -> SyncReport:
        """Run a full sync, or an incremental one if the time of the last change is known.

        Raises SyncFailed, and UpstreamMismatch, CatalogNotEmpty, CloudConfigError or MirrorLockLost, which a retry
        cannot solve.
        """
        begin = self._clock.monotonic()
        try:
            return self._sync(self._engine.read_sync_status(), full=full)
        except UpstreamError as error:
            self._record_failure(str(error), begin)
            raise SyncFailed(error.explanation) from error
        except CatalogUnavailable as error:
            self._record_failure("The catalog could not be written", begin)
            raise SyncFailed(str(error)) from error

    def _record_failure(self, error: str, begin: float) -> None:
        with suppress(CatalogUnavailable):  # the replica becomes stale, which shows the failure as well
            status = self._engine.read_sync_status()
            totals = status.totals_after("failed", self._clock.monotonic() - begin)
            self._engine.write_sync_status(replace(status, error=error, totals=totals))

    def _sync(self, status: SyncStatus, *, full: bool) -> SyncReport:
        started, monotonic = self._clock.time(), self._clock.monotonic()
        revision, _ = read_replica(self._engine, self._glance.url) or (None, {})
        full = full or status.changes_since is None or revision is None
        if full:
            listed = list_images(self._glance, progress=lambda pages: self._progress(pages, status.images))
        else:
            listed = list_images(self._glance, status.changes_since)
        status = self._record_upstream_ids(status, listed)
        collected = self._collect(listed, status, full=full, is_replica=revision is not None)
        upstream = Upstream(self._glance.url, self._glance.is_admin, started, revision or 0)
        snapshot = UpstreamSnapshot(upstream, collected.images, collected.failed, None if full else collected.deleted)
        counts = apply_snapshot(
            self._engine, snapshot, sample_ids=self._sample_ids, tombstone_days=self._tombstone_days, clock=self._clock
        )
        duration = self._clock.monotonic() - monotonic
        images = len(collected.images) + len(collected.failed)
        new_status = SyncStatus(
            synced_at=started,
            full_synced_at=started if full else status.full_synced_at,
            changes_since=self._changes_since(collected.images, started, duration) or status.changes_since,
            images=images if full else status.images,
            failed=collected.failure_messages,
            incomplete=_still_incomplete({} if full else status.incomplete, collected) | collected.incomplete,
            upstream_ids={id_: each for id_, each in status.upstream_ids.items() if id_ not in collected.deleted},
            totals=status.totals_after("full" if full else "incremental", duration),
        )
        self._engine.write_sync_status(new_status)
        return SyncReport(full, images, counts, new_status.failed, new_status.incomplete, duration)

    def _record_upstream_ids(self, status: SyncStatus, listed: Mapping[str, Any]) -> SyncStatus:
        """Store the ids that Glance does not have in lower case, before their images are in the catalog."""
        ids = {id_: each for id_, each in status.upstream_ids.items() if id_ not in listed}
        ids |= {id_: image["id"] for id_, image in listed.items() if image["id"] != id_}
        recorded = replace(status, upstream_ids=ids)
        if recorded != status:
            self._engine.write_sync_status(recorded)
        return recorded

    def _collect(
        self, listed: Mapping[str, Any], status: SyncStatus, *, full: bool, is_replica: bool
    ) -> ImageCollector:
        """Collect the listed images, and fetch others by id: in a full sync, stored images that are not listed.

        These are usually deleted, but Glance also omits images whose upload failed from its lists.
        """
        if full:
            collector = ImageCollector(self._glance, {}, status.upstream_id)
            collector.collect(listed, read_image_ids(self._engine) if is_replica else ())
        else:
            # The members of incomplete images are fetched again: one of them may be what could not be copied.
            ids = listed.keys() - status.incomplete.keys()
            _, stored = read_replica(self._engine, self._glance.url, ids) or (0, {})
            collector = ImageCollector(self._glance, stored, status.upstream_id)
            collector.collect(listed, status.failed)
        return collector

    def _changes_since(self, collected: Sequence[StoredImage], started: float, duration: float) -> str | None:
        """Return the time from which the next incremental sync lists changes, if any image was collected.

        Glance's clock may be ahead, so an `updated` in the future counts as the start of this sync.
        """
        if not collected:
            return None
        latest = min(seconds(max(image.updated for image in collected)), started)
        return format_utc(datetime.fromtimestamp(latest - self._overlap_seconds - math.ceil(duration), UTC))


def _still_incomplete(incomplete: Mapping[str, str], collected: ImageCollector) -> dict[str, str]:
    """Return the incomplete images of the last sync that this one did not read again."""
    seen = {image.id for image in collected.images} | collected.failed.keys() | collected.deleted
    return {image_id: reason for image_id, reason in incomplete.items() if image_id not in seen}
