"""What a pass finds out of the images that it meets: which can be copied, which not and why, and which are gone."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from app.catalog.documents import InvalidImageFile
from app.catalog.models import ImageFailure, StoredImage
from app.mirror.client import GlanceClient, UpstreamError
from app.mirror.mapping import access_of, is_visible, to_catalog_image

_MAX_CONCURRENCY = 8  # questions about images
_MAX_CONSECUTIVE_FAILURES = 5  # images in a row that nothing can be found out of, until it is doubted that anything can


class ImageCollector:
    """Images of a Glance: those that were listed, and those that have to be asked for."""

    def __init__(self, glance: GlanceClient, known: Mapping[str, StoredImage]) -> None:
        """Take what is known of some: the members of one that has not changed are not asked for."""
        self.images: list[StoredImage] = []
        self.failed: dict[str, ImageFailure] = {}
        self.failures: dict[str, str] = {}  # what happened to these, as a log has it
        self.gone: set[str] = set()
        self._glance = glance
        self._known = known
        self._in_a_row = 0

    @property
    def newest(self) -> str | None:
        """The latest time at which one of the images changed."""
        return max((image.updated for image in self.images), default=None)

    def look(self, listed: Mapping[str, Any], others: Iterable[str]) -> None:
        """Look at images that were listed, and at others by their ids.

        Raises UpstreamFailed where nothing more can be found out.
        """
        pool = ThreadPoolExecutor(_MAX_CONCURRENCY, thread_name_prefix="survey")
        try:
            asked = {id_: pool.submit(self._record, image) for id_, image in listed.items() if _is_shared(image)}
            asked |= {id_: pool.submit(self._look_for, id_) for id_ in others if id_ not in listed}
            for id_ in [*listed, *(each for each in asked if each not in listed)]:
                if id_ in asked:
                    self._settle(id_, asked[id_].result, listed.get(id_))
                    self._doubt(failed=id_ in self.failed)
                else:
                    self._settle(id_, partial(self._record, listed[id_]), listed[id_])
        finally:
            pool.shutdown(cancel_futures=True)

    def _settle(self, image_id: str, look: Callable[[], StoredImage | None], image: Any) -> None:
        try:
            record = look()
        except InvalidImageFile as error:
            self._fail(image_id, image, "A malformed image", str(error))
        except UpstreamError as error:
            self._fail(image_id, image, error.what, str(error.__cause__ or ""))
        else:
            if record is None:
                self.gone.add(image_id)
            else:
                self.images.append(record)

    def _look_for(self, image_id: str) -> StoredImage | None:
        image = self._glance.image(image_id)
        return None if image is None else self._record(image)

    def _record(self, image: Any) -> StoredImage | None:
        """Give what the catalog has of an image; None where there is none, or one that lists leave out."""
        record = to_catalog_image(image)
        if not is_visible(image, record):
            return None
        if record.visibility != "shared":
            return record
        known = self._known.get(record.id)
        if known and known.updated >= record.updated and _ignoring_members(known, record) == record:
            return record._replace(members=known.members)
        members = self._glance.members(record.id)
        return None if members is None else to_catalog_image(image, members)

    def _fail(self, image_id: str, image: Any, what: str, detail: str) -> None:
        self.failed[image_id] = ImageFailure(what, access_of(image))
        self.failures[image_id] = f"{what} ({detail})" if detail else what

    def _doubt(self, *, failed: bool) -> None:
        """Have a page be asked for after some failures: a Glance that is away is no matter of single images."""
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if self._in_a_row >= _MAX_CONSECUTIVE_FAILURES:
            self._glance.check()
            self._in_a_row = 0


def _is_shared(image: Any) -> bool:
    return isinstance(image, dict) and image.get("visibility") == "shared"


def _ignoring_members(known: StoredImage, record: StoredImage) -> StoredImage:
    """Give what is known, with what may differ though nothing changed: who shares it, and when it was copied again."""
    return known._replace(members=record.members, updated=record.updated)
