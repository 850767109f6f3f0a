"""What a pass finds out of the images that it meets: which can be copied, which not and why, and which are gone."""

from collections.abc import Callable, Mapping
from typing import Any

from app.catalog import Record
from app.catalog_file import BadFile
from app.mirror.glance import Glance, UpstreamFailed
from app.mirror.mapping import image_record, status_reason

_DOUBTFUL = 5  # images in a row whose members cannot be had, until it is doubted that anything can


class Survey:
    """Images of a Glance, one by one."""

    def __init__(self, glance: Glance, known: Mapping[str, Record]) -> None:
        """Take what is known of some: the members of one that has not changed are not asked for."""
        self.images: list[Record] = []
        self.failed: dict[str, str] = {}
        self.gone: set[str] = set()
        self._glance = glance
        self._known = known
        self._in_a_row = 0

    @property
    def newest(self) -> str | None:
        """The latest time at which one of the images changed."""
        return max((image.updated for image in self.images), default=None)

    def take(self, image_id: str, image: Any) -> None:
        """Look at an image. Raises UpstreamFailed where nothing more can be had."""
        self._take(image_id, lambda: image)

    def look_for(self, image_id: str) -> None:
        """Ask for an image, and look at it. Raises as `take` does."""
        self._take(image_id, lambda: self._glance.image(image_id))

    def _take(self, image_id: str, get: Callable[[], Any]) -> None:
        try:
            record = self._record(image_id, get())
        except BadFile as error:
            self._fail(image_id, f"A malformed image ({error})")
        except UpstreamFailed as error:
            self._fail(image_id, error.what)
            self._doubt()
        else:
            if record is None or record.status == "DELETED":
                self.gone.add(image_id)
            else:
                self.images.append(record)

    def _record(self, image_id: str, image: Any) -> Record | None:
        """Give what the catalog has of an image; None where there is none, or one that lists leave out."""
        if image is None:
            return None
        record = image_record(image)
        if image.get("os_hidden"):
            return None
        if record.visibility != "shared":
            return record
        known = self._known.get(image_id)
        if known is not None and known._replace(members=record.members) == record:
            return known
        members = self._glance.members(image_id)
        self._in_a_row = 0
        return None if members is None else image_record(image, members)

    def _fail(self, image_id: str, what: str) -> None:
        self.failed[image_id] = status_reason(what, self._glance.url, image_id)

    def _doubt(self) -> None:
        """Have a page be asked for after some failures: a Glance that is away is no matter of single images."""
        self._in_a_row += 1
        if self._in_a_row >= _DOUBTFUL:
            self._glance.check()
            self._in_a_row = 0
