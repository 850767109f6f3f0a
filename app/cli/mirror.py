"""The command that copies an image service into the catalog."""

import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from app.catalog.documents import load_sample
from app.cli.types import require_extra
from app.settings import Settings
from app.text import escape_control_characters
from app.timestamps import now

if TYPE_CHECKING:
    from app.mirror.sync import SyncFailed, SyncReport

_MAX_REPORTED_FAILURES = 3  # images of those that could not be copied


@click.command()
@click.option("--once", is_flag=True, help="Copy all images, and end.")
@click.option(
    "--every",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    default=60,
    show_default=True,
    help="How often to ask for what changed.",
)
@click.option(
    "--whole-every",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=600,
    show_default=True,
    help="How often to go over all images, which finds out what was deleted, and who shares what.",
)
@click.pass_obj
def mirror(settings: Settings, once: bool, every: float, whole_every: float) -> None:
    """Copy the images of a cloud's image service (Glance v2) into the catalog, and go on doing so.

    The cloud is the one of clouds.yaml that OS_CLOUD names, or the one that OS_AUTH_URL and so on tell of. With an
    administrator's credentials, the images of all projects are copied.

    The catalog is to be the mirror's own: images that were imported into it are not deleted, but stop the mirror.
    """
    with require_extra("mirror", "The command mirror"):
        from app.mirror import client, scheduler, sync  # noqa: PLC0415 which other commands need not have

    logging.getLogger("keystoneauth").setLevel(logging.CRITICAL)  # what it has to say is in the errors that it raises
    region = client.load_cloud_config()
    this = sync.Mirror(
        lambda: client.connect(region),
        settings.catalog,
        tombstone_days=settings.tombstone_days,
        replaceable=[image.id for image in load_sample()],
        watch=_with_progress,
    )
    with scheduler.single_instance(settings.catalog):
        if not once:
            signal.signal(signal.SIGTERM, _exit)
            scheduler.run_forever(this, every=every, whole_every=whole_every, tell=_report)
        try:
            _report(this.make_pass(whole=True))
        except sync.SyncFailed as error:
            raise click.ClickException(str(error)) from error


def _exit(*_: object) -> None:
    """End where it is: what a pass has written is whole, or is taken back."""
    sys.exit()


def _with_progress(pages: Iterable[list[Any]], expected: int) -> Iterator[list[Any]]:
    """Show how far a pass over all images is, to a person at a terminal."""
    if not sys.stderr.isatty():
        yield from pages
        return
    with click.progressbar(length=expected, label="Copying", file=sys.stderr) as bar:
        for page in pages:
            bar.update(len(page))
            yield page


def _report(result: "SyncReport | SyncFailed") -> None:
    """Tell of a pass in one line."""
    click.echo(f"{now()} {escape_control_characters(_line(result))}", err=True)


def _line(result: "SyncReport | SyncFailed") -> str:
    if isinstance(result, Exception):
        return f"The pass failed: {result}"
    copied = result.copied
    line = (
        f"{'All' if result.is_whole else 'Changed'} images: {result.images} in {result.seconds:.2f} s; "
        f"{copied.new} new, {copied.changed} changed, {copied.deleted} deleted, {len(result.failed)} not copied"
    )
    reasons = "; ".join(f"{image}: {why}" for image, why in list(result.failed.items())[:_MAX_REPORTED_FAILURES])
    return f"{line}: {reasons}" if reasons else f"{line}."
