"""The command that copies an image service into the catalog."""

import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from app.catalog_file import sample
from app.cli.options import extra
from app.faults import printable
from app.settings import Settings
from app.timestamps import now

if TYPE_CHECKING:
    from app.mirror.passes import PassFailed, Report

_TOLD = 3  # images of those that could not be copied


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
    with extra("mirror", "The command mirror"):
        from app.mirror import glance, passes, running  # noqa: PLC0415 which other commands need not have

    logging.getLogger("keystoneauth").setLevel(logging.CRITICAL)  # what it has to say is in the errors that it raises
    region = glance.cloud()
    this = passes.Mirror(
        lambda: glance.glance_of(region),
        settings.catalog,
        tombstone_days=settings.tombstone_days,
        replaceable=[image.id for image in sample()],
        watch=_watched,
    )
    with running.alone(settings.catalog):
        if not once:
            signal.signal(signal.SIGTERM, _end)
            running.keep_copying(this, every=every, whole_every=whole_every, tell=_tell)
        try:
            _tell(this.make_pass(whole=True))
        except passes.PassFailed as error:
            raise click.ClickException(str(error)) from error


def _end(*_: object) -> None:
    """End where it is: what a pass has written is whole, or is taken back."""
    sys.exit()


def _watched(pages: Iterable[list[Any]], expected: int) -> Iterator[list[Any]]:
    """Show how far a pass over all images is, to a person at a terminal."""
    if not sys.stderr.isatty():
        yield from pages
        return
    with click.progressbar(length=expected, label="Copying", file=sys.stderr) as bar:
        for page in pages:
            bar.update(len(page))
            yield page


def _tell(result: "Report | PassFailed") -> None:
    """Tell of a pass in one line."""
    click.echo(f"{now()} {printable(_line(result))}", err=True)


def _line(result: "Report | PassFailed") -> str:
    if isinstance(result, Exception):
        return f"The pass failed: {result}"
    copied = result.copied
    line = (
        f"{'All' if result.is_whole else 'Changed'} images: {result.images} in {result.seconds:.2f} s; "
        f"{copied.new} new, {copied.changed} changed, {copied.deleted} deleted, {len(result.failed)} not copied"
    )
    reasons = "; ".join(f"{image}: {why}" for image, why in list(result.failed.items())[:_TOLD])
    return f"{line}: {reasons}" if reasons else f"{line}."
