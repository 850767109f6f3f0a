"""The commands that put files of images into the catalog, and write one."""

import errno
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import click

from app.catalog.documents import ImageFileReader, dump_images
from app.catalog.models import StoredImage
from app.catalog.transfer import export_images, import_images
from app.cli.types import ImageFieldType
from app.settings import Settings
from app.text import normalize_project_id

_PROGRESS_THRESHOLD = 1000  # images


@click.command("import")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--tenant", type=ImageFieldType("owner"), metavar="ID", help="The owner of images that name none.")
@click.option(
    "--visibility",
    type=ImageFieldType("visibility"),
    metavar="WHO",
    default="public",
    show_default=True,
    help="Who may see images that do not say it: public, private, shared or community.",
)
@click.option("--prune", is_flag=True, help="Delete the owner's images that the files lack.")
@click.pass_obj
def import_(settings: Settings, files: Sequence[str], tenant: str | None, visibility: str, prune: bool) -> None:
    """Put the images of some files into the catalog.

    A FILE is a document such as the API answers, or such as export writes; - is standard input. Every image is
    checked before anything is written: all files are imported, or nothing is. Images that are in the catalog already
    are brought up to date, and keep their place in its order.

    With --prune, images that the files lack become tombstones, which changes-since shows; but only those of the owner
    that --tenant names, or without --tenant those that have no owner.
    """
    reader = ImageFileReader(owner=tenant, visibility=visibility)
    owner = None if tenant is None else normalize_project_id(tenant)
    with _gc_disabled():
        records = [record for file in files for record in reader.read(*_content(file))]
        loaded = import_images(
            settings.catalog,
            records,
            owner=owner,
            prune=prune,
            tombstone_days=settings.tombstone_days,
            watch=_with_progress,
        )
    click.echo(
        f"Imported {len(records)} images into {settings.catalog}: {loaded.new} new, {loaded.changed} changed, "
        f"{loaded.unchanged} unchanged, {loaded.pruned} pruned.",
        err=True,
    )


@click.command("export")
@click.option("--tenant", type=ImageFieldType("owner"), metavar="ID", help="Only the images that this project owns.")
@click.option("--deleted", is_flag=True, help="Tombstones of deleted images too.")
@click.pass_obj
def export_(settings: Settings, tenant: str | None, deleted: bool) -> None:
    """Write the catalog to standard output, as a file that import reads.

    With --deleted it is the whole catalog: importing it into an empty one gives the same.
    """
    owner = None if tenant is None else normalize_project_id(tenant)
    try:
        sys.stdout.buffer.writelines(dump_images(export_images(settings.catalog, owner=owner, deleted=deleted)))
        sys.stdout.buffer.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read it has had enough: click ends quietly
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would fail on it again at its end
        raise click.ClickException(str(error)) from error


def _content(file: str) -> tuple[str, bytes]:
    """Read a file, and give the name by which to speak of it."""
    with click.open_file(file, "rb") as stream:
        return "standard input" if file == "-" else file, stream.read()


@contextmanager
def _gc_disabled() -> Iterator[None]:
    """Have the garbage collector rest: it would look for what can go all the time, and all is kept to the end."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _with_progress(records: Sequence[StoredImage]) -> Iterable[StoredImage]:
    """Show how far a long import is, to a person at a terminal."""
    if len(records) < _PROGRESS_THRESHOLD or not _at_a_terminal():
        yield from records
        return
    with click.progressbar(records, label="Importing", file=sys.stderr) as bar:
        yield from bar


def _at_a_terminal() -> bool:
    return sys.stderr.isatty()
