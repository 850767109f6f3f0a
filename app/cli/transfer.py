"""The commands that import image files into the catalog and export the catalog."""

import errno
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import click

from app.catalog.documents import ImageFileReader, dump_images
from app.catalog.engines import open_catalog
from app.catalog.models import StoredImage
from app.catalog.transfer import export_images, import_images
from app.cli.types import ImageFieldType
from app.settings import Settings
from app.text import normalize_project_id

_PROGRESS_THRESHOLD = 1000  # images: a smaller import is over before a progress bar can be read


@click.command("import")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--tenant",
    "project_id",
    type=ImageFieldType("owner"),
    metavar="ID",
    help="The project that owns images without an owner.",
)
@click.option(
    "--visibility",
    type=ImageFieldType("visibility"),
    metavar="WHO",
    default="public",
    show_default=True,
    help="Visibility of images that do not state it: public, private, shared or community.",
)
@click.option("--prune", is_flag=True, help="Delete the owner's images that are not in the files.")
@click.pass_obj
def import_(settings: Settings, files: Sequence[str], project_id: str | None, visibility: str, prune: bool) -> None:
    """Import images from files into the catalog.

    A FILE contains what the API returns for a list of images, or what export writes; - is standard input. All images
    are validated first: either all files are imported, or none. Images that the catalog already contains are updated
    and keep their position in its order.

    With --prune, images that are not in the files are deleted; changes-since then shows them as DELETED. This affects
    only the images that the project of --tenant owns; without --tenant, only images without an owner.
    """
    engine = open_catalog(settings.catalog)
    reader = ImageFileReader(owner=project_id, visibility=visibility)
    owner = None if project_id is None else normalize_project_id(project_id)
    with _gc_disabled():
        images = [image for file in files for image in reader.read(*_read(file))]
        result = import_images(
            engine,
            images,
            owner=owner,
            prune=prune,
            tombstone_days=settings.tombstone_days,
            progress=_with_progress,
        )
    click.echo(
        f"Imported {len(images)} images into {engine.name}: {result.new} new, {result.changed} changed, "
        f"{result.unchanged} unchanged, {result.pruned} pruned.",
        err=True,
    )


@click.command("export")
@click.option(
    "--tenant",
    "project_id",
    type=ImageFieldType("owner"),
    metavar="ID",
    help="Export only images that this project owns.",
)
@click.option("--deleted", is_flag=True, help="Include the tombstones of deleted images.")
@click.pass_obj
def export_(settings: Settings, project_id: str | None, deleted: bool) -> None:
    """Write the catalog to standard output.

    The output is a file that import reads. With --deleted, importing it into an empty catalog restores all images and
    tombstones.
    """
    owner = None if project_id is None else normalize_project_id(project_id)
    images = export_images(open_catalog(settings.catalog), owner=owner, deleted=deleted)
    try:
        sys.stdout.buffer.writelines(dump_images(images))
        sys.stdout.buffer.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader closed the pipe, as `head` does: click exits without a message
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        raise click.ClickException(str(error)) from error


def _read(file: str) -> tuple[str, bytes]:
    """Return the name of a file, for messages, and its content."""
    with click.open_file(file, "rb") as stream:
        return "standard input" if file == "-" else file, stream.read()


@contextmanager
def _gc_disabled() -> Iterator[None]:
    """Disable the garbage collector: an import creates many objects and frees none until its end."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _with_progress(images: Sequence[StoredImage]) -> Iterable[StoredImage]:
    """Yield the images, with a progress bar for many images on a terminal."""
    hidden = len(images) < _PROGRESS_THRESHOLD or not sys.stderr.isatty()
    with click.progressbar(images, label="Importing", file=sys.stderr, hidden=hidden) as bar:
        yield from bar
