"""Passes over an image service: each brings the catalog to what it found, or leaves it as it was."""

import math
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from app.catalog.models import SyncCounts, SyncStatus, Upstream, UpstreamSnapshot
from app.catalog.replica import apply_snapshot, read_replica
from app.errors import CatalogBusy, CatalogUnavailable
from app.mirror.client import GlanceClient, MarkerNotFound, UpstreamError
from app.mirror.collector import ImageCollector
from app.mirror.status import read_sync_status, write_sync_status
from app.timestamps import format_utc, seconds

# Glance shows times to the second, and what begins to change before another image does may be done after it.
_OVERLAP_SECONDS = 60  # seconds
_MAX_ATTEMPTS = 5  # at a list, of whose pages the last images are deleted meanwhile

ProgressReporter = Callable[[Iterable[list[Any]], int], Iterable[list[Any]]]


class SyncFailed(Exception):
    """A pass ended before it was through. What it was to bring is in the catalog as a whole, or not at all."""


class SyncReport(NamedTuple):
    """What a pass did: of how many images, in how many seconds, and which could not be copied and why."""

    is_whole: bool
    images: int
    copied: SyncCounts
    failed: dict[str, str]
    seconds: float


class Mirror:
    """Copies what a Glance has into a catalog."""

    def __init__(
        self,
        connect: Callable[[], GlanceClient],
        catalog: Path,
        *,
        tombstone_days: int,
        replaceable: Collection[str],
        watch: ProgressReporter,
    ) -> None:
        """Take how to find the Glance, and what watches the pages come.

        Images with the ids that are replaceable are removed from a catalog that is no copy yet.
        """
        self._connect = connect
        self._catalog = catalog
        self._tombstone_days = tombstone_days
        self._replaceable = replaceable
        self._watch = watch

    @cached_property
    def _glance(self) -> GlanceClient:
        return self._connect()

    @property
    def last_whole(self) -> float | None:
        """When the last good pass over all images began, in seconds since 1970, if there was one."""
        return read_sync_status(self._catalog).whole

    def make_pass(self, *, whole: bool) -> SyncReport:
        """Go over all images, or over those that changed lately, where it is known since when.

        Raises PassFailed, and what `copy_found` raises where it never will do better.
        """
        before = read_sync_status(self._catalog)
        try:
            return self._pass(before, whole=whole)
        except UpstreamError as error:
            self._tell_of_failure(before, f"{error} at the image service")
            more = f": {error.__cause__}" if error.__cause__ else ""
            raise SyncFailed(f"{error} at the image service{more}") from error
        except (CatalogBusy, CatalogUnavailable) as error:
            self._tell_of_failure(before, "The catalog could not be written")
            raise SyncFailed(str(error)) from error

    def _tell_of_failure(self, before: SyncStatus, error: str) -> None:
        with suppress(CatalogUnavailable):  # where even that cannot be written, it grows old
            write_sync_status(self._catalog, replace(before, error=error))

    def _pass(self, before: SyncStatus, *, whole: bool) -> SyncReport:
        began, clock = time.time(), time.monotonic()
        turn, _ = read_replica(self._catalog, self._glance.url) or (None, {})
        whole = whole or before.since is None or turn is None
        survey = self._survey(before, whole=whole)
        upstream = Upstream(self._glance.url, self._glance.is_admin, began, turn or 0)
        found = UpstreamSnapshot(upstream, survey.images, survey.failed, None if whole else survey.gone)
        copied = apply_snapshot(
            self._catalog, found, replaceable=self._replaceable, tombstone_days=self._tombstone_days
        )
        took = time.monotonic() - clock
        count = len(survey.images) + len(survey.failed)
        passes = SyncStatus(
            good=began,
            whole=began if whole else before.whole,
            since=_since(survey.newest, began, took) or before.since,
            images=count if whole else before.images,
            failed=tuple(survey.failed),
        )
        write_sync_status(self._catalog, passes)
        return SyncReport(whole, count, copied, survey.failures, took)

    def _survey(self, before: SyncStatus, *, whole: bool) -> ImageCollector:
        listed = self._listed(before, whole=whole)
        _, known = (None if whole else read_replica(self._catalog, self._glance.url, listed.keys())) or (0, {})
        survey = ImageCollector(self._glance, known)
        survey.look(listed, () if whole else before.failed)
        return survey

    def _listed(self, before: SyncStatus, *, whole: bool) -> dict[str, Any]:
        """Give all images, or those that changed lately, by their ids, in Glance's order."""
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return self._list_once(before, whole=whole)
            except MarkerNotFound:
                continue
        return self._list_once(before, whole=whole)

    def _list_once(self, before: SyncStatus, *, whole: bool) -> dict[str, Any]:
        pages = self._glance.pages(None if whole else before.since)
        watched = self._watch(pages, before.images) if whole else pages
        return {_id(image): image for page in watched for image in page}


def _since(newest: str | None, began: float, took: float) -> str | None:
    """Give the time of change from which on the pass after one has to ask, even where one is in the future."""
    if newest is None:
        return None
    return format_utc(datetime.fromtimestamp(min(seconds(newest), began) - _OVERLAP_SECONDS - math.ceil(took), UTC))


def _id(image: Any) -> str:
    """Give the id of an image. What has none cannot be left out: it may be one that the catalog has."""
    if not isinstance(image, dict) or not isinstance(image.get("id"), str):
        raise UpstreamError("A malformed page")
    return str(image["id"])
