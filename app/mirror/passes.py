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

from app.catalog import Copied, Found, Upstream, copy_found, look_at
from app.faults import CatalogBusy, CatalogUnavailable
from app.freshness import Passes, passes_of, tell
from app.mirror.glance import Glance, MarkerGone, UpstreamFailed
from app.mirror.survey import Survey
from app.timestamps import format_utc, seconds

# Glance shows times to the second, and what begins to change before another image does may be done after it.
_OVERLAP = 60  # seconds
_ATTEMPTS = 5  # at a list, of whose pages the last images are deleted meanwhile

Watch = Callable[[Iterable[list[Any]], int], Iterable[list[Any]]]


class PassFailed(Exception):
    """A pass ended before it was through. What it was to bring is in the catalog as a whole, or not at all."""


class Report(NamedTuple):
    """What a pass did: of how many images, in how many seconds, and which could not be copied and why."""

    is_whole: bool
    images: int
    copied: Copied
    failed: dict[str, str]
    seconds: float


class Mirror:
    """Copies what a Glance has into a catalog."""

    def __init__(
        self,
        connect: Callable[[], Glance],
        catalog: Path,
        *,
        tombstone_days: int,
        replaceable: Collection[str],
        watch: Watch,
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
    def _glance(self) -> Glance:
        return self._connect()

    @property
    def last_whole(self) -> float | None:
        """When the last good pass over all images began, in seconds since 1970, if there was one."""
        return passes_of(self._catalog).whole

    def make_pass(self, *, whole: bool) -> Report:
        """Go over all images, or over those that changed lately, where it is known since when.

        Raises PassFailed, and what `copy_found` raises where it never will do better.
        """
        before = passes_of(self._catalog)
        try:
            return self._pass(before, whole=whole)
        except UpstreamFailed as error:
            self._tell_of_failure(before, f"{error} at the image service")
            more = f": {error.__cause__}" if error.__cause__ else ""
            raise PassFailed(f"{error} at the image service{more}") from error
        except (CatalogBusy, CatalogUnavailable) as error:
            self._tell_of_failure(before, "The catalog could not be written")
            raise PassFailed(str(error)) from error

    def _tell_of_failure(self, before: Passes, error: str) -> None:
        with suppress(CatalogUnavailable):  # where even that cannot be written, it grows old
            tell(self._catalog, replace(before, error=error))

    def _pass(self, before: Passes, *, whole: bool) -> Report:
        began, clock = time.time(), time.monotonic()
        turn, _ = look_at(self._catalog, self._glance.url) or (None, {})
        whole = whole or before.since is None or turn is None
        survey = self._survey(before, whole=whole)
        upstream = Upstream(self._glance.url, self._glance.is_admin, began, turn or 0)
        found = Found(upstream, survey.images, survey.failed, None if whole else survey.gone)
        copied = copy_found(self._catalog, found, replaceable=self._replaceable, tombstone_days=self._tombstone_days)
        took = time.monotonic() - clock
        count = len(survey.images) + len(survey.failed)
        passes = Passes(
            good=began,
            whole=began if whole else before.whole,
            since=_since(survey.newest, began, took) or before.since,
            images=count if whole else before.images,
            failed=tuple(survey.failed),
        )
        tell(self._catalog, passes)
        return Report(whole, count, copied, survey.failures, took)

    def _survey(self, before: Passes, *, whole: bool) -> Survey:
        listed = self._listed(before, whole=whole)
        _, known = (None if whole else look_at(self._catalog, self._glance.url, listed.keys())) or (0, {})
        survey = Survey(self._glance, known)
        survey.look(listed, () if whole else before.failed)
        return survey

    def _listed(self, before: Passes, *, whole: bool) -> dict[str, Any]:
        """Give all images, or those that changed lately, by their ids, in Glance's order."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._list_once(before, whole=whole)
            except MarkerGone:
                continue
        return self._list_once(before, whole=whole)

    def _list_once(self, before: Passes, *, whole: bool) -> dict[str, Any]:
        pages = self._glance.pages(None if whole else before.since)
        watched = self._watch(pages, before.images) if whole else pages
        return {_id(image): image for page in watched for image in page}


def _since(newest: str | None, began: float, took: float) -> str | None:
    """Give the time of change from which on the pass after one has to ask, even where one is in the future."""
    if newest is None:
        return None
    return format_utc(datetime.fromtimestamp(min(seconds(newest), began) - _OVERLAP - math.ceil(took), UTC))


def _id(image: Any) -> str:
    """Give the id of an image. What has none cannot be left out: it may be one that the catalog has."""
    if not isinstance(image, dict) or not isinstance(image.get("id"), str):
        raise UpstreamFailed("A malformed page")
    return str(image["id"])
