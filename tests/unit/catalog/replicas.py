"""A replica in a test, and the syncs and changes that write to it."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import orjson

from app.catalog.engine import Engine
from app.catalog.models import ImageFailure, StoredImage, SyncCounts, Upstream, UpstreamSnapshot
from app.catalog.reader import CatalogReader
from app.catalog.replica import (
    apply_delete,
    apply_snapshot,
    apply_update,
    format_sync_status_reason,
    insert_image,
    read_replica,
)
from tests.support.catalogs import exported, listed
from tests.support.clock import FakeClock
from tests.support.images import Fields, image, image_id, image_number, stored_images

GLANCE, OTHER_GLANCE = "http://glance.test", "http://other.test"
EARLIER, LATER = "2020-06-01T00:00:00Z", "2021-01-01T00:00:00Z"  # both before the clock's start
TIMEOUT = "A timeout"
FAILURE = ImageFailure(TIMEOUT)
REASON = format_sync_status_reason(TIMEOUT, GLANCE, image_id(1))
UNCHANGED = SyncCounts(new=0, changed=0, deleted=0)


def stored_image(number: int = 1, **fields: Any) -> StoredImage:
    (stored,) = stored_images(image(number, **fields))
    return stored


class Replica:
    """A replica of GLANCE, or a catalog that is to become one."""

    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self.engine = engine
        self._clock = clock

    def sync(  # noqa: PLR0913 each is something that a sync reads, or an option
        self,
        *images: Fields,
        failed: Mapping[str, ImageFailure] | None = None,
        deleted: Collection[str] | None = None,
        url: str = GLANCE,
        is_admin: bool = False,
        sample_ids: Collection[str] = (),
        tombstone_days: int = 30,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> SyncCounts:
        """Apply what a sync read that began a second after the last change: a full sync, unless `deleted` is given."""
        self._clock.advance()
        revision, _ = read_replica(self.engine, url) or (0, {})
        upstream = Upstream(url, is_admin, self._clock.time(), revision)
        snapshot = UpstreamSnapshot(upstream, stored_images(*images), failed or {}, deleted)
        meanwhile()
        return apply_snapshot(
            self.engine, snapshot, sample_ids=sample_ids, tombstone_days=tombstone_days, clock=self._clock
        )

    def insert(self, number: int, *, url: str = GLANCE, timeout: float = 10, **fields: Any) -> None:
        """Add an image that was found upstream."""
        insert_image(self.engine, url, stored_image(number, **fields), timeout=timeout, clock=self._clock)

    def update(self, number: int, upstream: Upstream | None = None, *, timeout: float = 10, **fields: Any) -> None:
        """Apply an upstream change of an image."""
        updated = stored_image(number, **fields)
        apply_update(self.engine, upstream or self.upstream(), updated, timeout=timeout, clock=self._clock)

    def delete(self, number: int, *, url: str = GLANCE, tombstone_days: int = 30, timeout: float = 10) -> None:
        """Apply the deletion of an image upstream."""
        apply_delete(
            self.engine, url, image_id(number), tombstone_days=tombstone_days, timeout=timeout, clock=self._clock
        )

    def upstream(self) -> Upstream:
        """Return the upstream."""
        upstream = CatalogReader(self.engine).upstream()
        assert upstream is not None
        return upstream

    def stored(self) -> list[StoredImage]:
        """Return the images and tombstones in the order in which they were added."""
        return exported(self.engine)

    def only(self) -> StoredImage:
        """Return the only image."""
        (stored,) = self.stored()
        return stored

    def metadata(self) -> Any:
        """Return the metadata of the only image."""
        return orjson.loads(self.only().metadata)

    def statuses(self) -> dict[int, str]:
        """Return the statuses of the images by number, in the order in which they were added."""
        return {image_number(each.id): each.status for each in self.stored()}

    def changed_since(self, time: str) -> list[int]:
        """Return the numbers of the images that are listed as changed since a time."""
        return listed(self.engine, changes_since=time)
