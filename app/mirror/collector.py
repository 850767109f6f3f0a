"""Collects the state of upstream images: valid ones, those that failed and why, and those deleted upstream."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from app.catalog.documents import InvalidImageFile
from app.catalog.models import ImageFailure, StoredImage
from app.catalog.replica import with_members_of
from app.mirror.client import GlanceClient, MarkerNotFound, UpstreamError
from app.mirror.mapping import Conversion, access_of, convert, normalize_image_id

_MAX_LIST_ATTEMPTS = 5  # a list starts over if the last image of a page is deleted before the next page is requested
_MAX_CONCURRENCY = 8  # requests for single images
_MAX_CONSECUTIVE_FAILURES = 5  # images; then Glance itself is probed

PageProgress = Callable[[Iterable[list[Any]]], Iterable[list[Any]]]


class ImageCollector:
    """Collects listed images, and fetches others by their ids. The results are in its attributes."""

    def __init__(
        self, glance: GlanceClient, stored: Mapping[str, StoredImage], upstream_id: Callable[[str], str]
    ) -> None:
        """Set images of the replica, and the function that returns Glance's id of an image that is not listed.

        If an image of the replica is unchanged in Glance, its members are not fetched again.
        """
        self.images: list[StoredImage] = []
        self.failed: dict[str, ImageFailure] = {}
        self.failure_messages: dict[str, str] = {}  # by image id, with details for the log
        self.incomplete: dict[str, str] = {}  # by image id, what could not be copied
        self.deleted: set[str] = set()
        self._glance = glance
        self._stored = stored
        self._upstream_id = upstream_id
        self._consecutive_failures = 0

    def collect(self, listed: Mapping[str, Any], others: Iterable[str]) -> None:
        """Collect listed images, and fetch others by their ids. Raises UpstreamError if Glance is unavailable."""
        pool = ThreadPoolExecutor(_MAX_CONCURRENCY, thread_name_prefix="collector")
        try:
            fetches = {id_: pool.submit(self._convert, image) for id_, image in listed.items() if _is_shared(image)}
            fetches |= {id_: pool.submit(self._fetch, id_) for id_ in others if id_ not in listed}
            for id_ in {**listed, **fetches}:  # in the order of the list
                if id_ in fetches:
                    self._add(id_, fetches[id_].result, listed.get(id_))
                    self._probe_after_failures(failed=id_ in self.failed)
                else:
                    self._add(id_, partial(self._convert, listed[id_]), listed[id_])
        finally:
            pool.shutdown(cancel_futures=True)

    def _add(self, image_id: str, get: Callable[[], Conversion | None], listed: Any) -> None:
        try:
            conversion = get()
        except InvalidImageFile as error:
            self._add_failure(image_id, listed, "A malformed image", str(error))
        except UpstreamError as error:
            self._add_failure(image_id, listed, error.reason, str(error.__cause__ or ""))
        else:
            if conversion is None:
                self.deleted.add(image_id)
                return
            self.images.append(conversion.image)
            if conversion.omitted:
                self.incomplete[image_id] = f"Copied without {', '.join(conversion.omitted)}"

    def _fetch(self, image_id: str) -> Conversion | None:
        image = self._glance.get_image(self._upstream_id(image_id))
        return None if image is None else self._convert(image)

    def _convert(self, image: Any) -> Conversion | None:
        """Convert an image, its members included. Return None if it is deleted."""
        conversion = convert(image)
        converted = conversion.image
        if converted.visibility != "shared":
            return conversion
        stored = self._stored.get(converted.id)
        if stored and stored.updated >= converted.updated and _ignoring_members(stored, converted) == converted:
            return conversion._replace(image=with_members_of(stored, converted))
        members = self._glance.list_members(image["id"])
        if members is not None:
            return convert(image, members)
        if self._glance.get_image(image["id"]) is not None:
            raise UpstreamError("A response with status 404")
        return None

    def _add_failure(self, image_id: str, listed: Any, reason: str, detail: str) -> None:
        self.failed[image_id] = ImageFailure(reason, access_of(listed))
        self.failure_messages[image_id] = f"{reason} ({detail})" if detail else reason

    def _probe_after_failures(self, *, failed: bool) -> None:
        """Probe Glance after several consecutive failures, so that an outage fails the sync, not every image."""
        self._consecutive_failures = self._consecutive_failures + 1 if failed else 0
        if self._consecutive_failures >= _MAX_CONSECUTIVE_FAILURES:
            self._glance.ping()
            self._consecutive_failures = 0


def list_images(
    glance: GlanceClient, changed_since: str | None = None, *, progress: PageProgress = iter
) -> dict[str, Any]:
    """Return all images, or those changed at that time or later, by id in Glance's order. Raises UpstreamError.

    `progress` wraps the pages to report how many are read.
    """
    for _ in range(_MAX_LIST_ATTEMPTS - 1):
        with suppress(MarkerNotFound):
            return _list_images_once(glance, changed_since, progress)
    return _list_images_once(glance, changed_since, progress)


def _list_images_once(glance: GlanceClient, changed_since: str | None, progress: PageProgress) -> dict[str, Any]:
    return {_image_id(image): image for page in progress(glance.list_pages(changed_since)) for image in page}


def read_members(glance: GlanceClient, images: Mapping[str, Any]) -> dict[str, Mapping[str, str] | None]:
    """Return the members of the shared images, with their statuses, by image id; None for an image deleted meanwhile.

    Raises UpstreamError.
    """
    shared = {id_: image["id"] for id_, image in images.items() if _is_shared(image)}
    with ThreadPoolExecutor(_MAX_CONCURRENCY, thread_name_prefix="collector") as pool:
        return dict(zip(shared, pool.map(glance.list_members, shared.values()), strict=True))


def _image_id(image: Any) -> str:
    """Return an image's id. An image without one fails the sync: skipping it could delete it from the catalog."""
    if not isinstance(image, dict) or not isinstance(image.get("id"), str):
        raise UpstreamError("A malformed page")
    return str(normalize_image_id(image["id"]))


def _is_shared(image: Any) -> bool:
    return isinstance(image, dict) and image.get("visibility") == "shared"


def _ignoring_members(stored: StoredImage, image: StoredImage) -> StoredImage:
    """Return the stored image with the other's members and `updated`: a recovery from a failure raises `updated`."""
    return replace(with_members_of(image, stored), updated=image.updated)
