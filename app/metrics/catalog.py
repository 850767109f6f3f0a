"""The metrics of the catalog and its mirror, which do not depend on the process: they are read at each scrape."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from platform import python_version

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from app.catalog.engine import Engine, Snapshot
from app.catalog.executor import repeat_if_lost
from app.catalog.models import ImageCount, SyncStatus, Upstream, Version
from app.errors import DomainError
from app.resources import version
from app.timestamps import Clock

_READ_TIMEOUT = 5  # seconds; four hundred thousand images are counted in a quarter of one


class CatalogCollector(Collector):
    """Yields the number of images, the state of the mirror, and the version of the service. Blocks.

    Metrics of a catalog that cannot be read are left out.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.version: Version | None = None  # of the catalog, read before each scrape; None if it cannot be read
        self._counted_version: Version | None = None
        self._counts: Sequence[ImageCount] = ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        build = {"version": version(), "python": python_version()}
        yield InfoMetricFamily("compute_images_build", "The version of the service.", build)
        with suppress(DomainError):
            with self._engine.read_limits(_READ_TIMEOUT):
                counts, upstream = repeat_if_lost(self._read)
            images = sum(each.images for each in counts if not each.is_tombstone)
            yield _gauge("images", "Images in the catalog.", images)
            yield _gauge("tombstones", "Tombstones of deleted images.", sum(each.images for each in counts) - images)
            if upstream is not None:
                yield from self._mirror_metrics(upstream, self._engine.read_sync_status())

    def _read(self) -> tuple[Sequence[ImageCount], Upstream | None]:
        with self._engine.snapshot() as snapshot:
            return self._count_images(snapshot), snapshot.upstream()

    def _count_images(self, snapshot: Snapshot) -> Sequence[ImageCount]:
        """Count the images, only once for each version of the catalog, because that reads all of them."""
        version = self.version  # not later than the snapshot
        if version is None or version != self._counted_version:
            self._counts, self._counted_version = snapshot.count_images(), version
        return self._counts

    def _mirror_metrics(self, upstream: Upstream, status: SyncStatus) -> Iterator[Metric]:
        age = status.age(upstream, self._clock)
        yield _gauge("mirror_age_seconds", "Time since the last successful sync started.", age)
        yield _gauge("mirror_failed_images", "Images that could not be copied.", len(status.failed))
        yield _gauge("mirror_incomplete_images", "Images that were not copied completely.", len(status.incomplete))
        name, text = "compute_images_mirror_sync_duration_seconds", "Duration of syncs, by result."
        durations = SummaryMetricFamily(name, text, labels=["result"])
        for result, total in status.totals.items():
            durations.add_metric([result], total.count, total.seconds)
        yield durations


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"compute_images_{name}", text, value)
