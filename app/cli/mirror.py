"""The command that mirrors an image service into the catalog."""

import logging
import signal
import sys
from typing import TYPE_CHECKING

import click

from app.catalog.documents import load_sample
from app.catalog.engines import open_catalog
from app.cli.console import track
from app.cli.types import require_extra
from app.settings import Settings
from app.text import escape_control_characters
from app.timestamps import SYSTEM_CLOCK

if TYPE_CHECKING:
    from app.mirror.sync import SyncFailed, SyncReport


@click.command()
@click.option("--once", is_flag=True, help="Run one full sync and exit.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    default=60,
    show_default=True,
    help="Time between syncs. A sync is incremental, unless a full one is due.",
)
@click.option(
    "--full-sync-interval",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=600,
    show_default=True,
    help="Time between full syncs, which also detect deleted images and changed members.",
)
@click.pass_obj
def mirror(settings: Settings, once: bool, interval: float, full_sync_interval: float) -> None:
    """Mirror a cloud's images into the catalog.

    The images are copied from the cloud's image service (Glance v2) at the start and then after each interval. The
    cloud is the entry of clouds.yaml that OS_CLOUD names, or the one that OS_AUTH_URL and the other OS_ variables
    describe. With administrator credentials, the images of all projects are copied.

    The mirror needs a catalog of its own: the command fails if the catalog contains imported images.
    """
    with require_extra("mirror", "The command mirror"):
        from app.mirror import cloud, scheduler, sync  # noqa: PLC0415 only this command needs the extra

    logging.getLogger("keystoneauth").setLevel(logging.CRITICAL)  # the errors that it logs are also raised
    region = cloud.load_cloud_config()
    engine = open_catalog(settings.catalog)
    mirror = sync.Mirror(
        lambda: cloud.connect(region),
        engine,
        tombstone_days=settings.tombstone_days,
        sample_ids=[image.id for image in load_sample()],
        progress=lambda pages, expected: track(pages, "Copying", expected, size=len),
    )
    report = _Reporter()
    with engine.mirror_lock():
        if not once:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # a sync that is interrupted is rolled back
            scheduler.run_forever(mirror, interval=interval, full_sync_interval=full_sync_interval, report=report)
        try:
            report(mirror.sync(full=True))
        except sync.SyncFailed as error:
            raise click.ClickException(str(error)) from error


class _Reporter:
    """Writes the result of each sync to standard error: a line for the sync, and one for each image with a problem.

    A problem that the previous sync had as well is not written again.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, result: "SyncReport | SyncFailed") -> None:
        if isinstance(result, Exception):
            _log(f"Sync failed: {result}")
            return
        _log(_summary(result))
        problems = {**result.failed, **result.incomplete}
        for image_id, problem in problems.items():
            if self._known.get(image_id) != problem:
                _log(f"Image {image_id}: {problem}")
        self._known = problems


def _summary(report: "SyncReport") -> str:
    counts = report.counts
    return (
        f"{'Full' if report.is_full else 'Incremental'} sync: {report.images} images in {report.seconds:.2f} s "
        f"({counts.new} new, {counts.changed} changed, {counts.deleted} deleted, {len(report.failed)} failed, "
        f"{len(report.incomplete)} incomplete)."
    )


def _log(line: str) -> None:
    click.echo(f"{SYSTEM_CLOCK.now()} {escape_control_characters(line)}", err=True)
