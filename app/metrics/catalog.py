"""The metrics of the catalog and its mirror, which do not depend on the process: they are read at each scrape."""

from collections.abc import Iterator
from contextlib import suppress
from platform import python_version

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from app.catalog.engine import Engine
from app.catalog.models import SyncStatus, Upstream
from app.errors import DomainError
from app.resources import version
from app.timestamps import Clock

_READ_TIMEOUT = 5  # seconds; four hundred thousand images are counted in a twentieth of a second


class CatalogCollector(Collector):
    """Yields the number of images, the state of the mirror, and the version of the service. Blocks.

    Metrics of a catalog that cannot be read are left out.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        build = {"version": version(), "python": python_version()}
        yield InfoMetricFamily("compute_images_build", "The version of the service.", build)
        with suppress(DomainError):
            with self._engine.read_limits(_READ_TIMEOUT), self._engine.snapshot() as snapshot:
                totals, upstream = snapshot.image_totals(), snapshot.upstream()
            yield _gauge("images", "Images in the catalog.", totals.images)
            yield _gauge("tombstones", "Tombstones that lists of changed images show.", totals.tombstones)
            if upstream is not None:
                yield from self._mirror_metrics(upstream, self._engine.read_sync_status())

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
