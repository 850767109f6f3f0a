"""The commands that import image files into the catalog and export the catalog."""

import errno
import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import TypeVar

import click
import orjson

from app.catalog.documents import dump_images
from app.catalog.engines import open_catalog
from app.catalog.image_files import ImageFileReader, ImageFiles, InvalidImageFiles
from app.catalog.image_schema import example_file, file_schema
from app.catalog.models import JsonObject, StoredImage
from app.catalog.transfer import export_images, import_images, preview_import
from app.cli.types import ImageFieldType
from app.mirror.mapping import to_file_image
from app.settings import Settings
from app.text import escape_control_characters, normalize_project_id

_Command = TypeVar("_Command", bound=Callable[..., object])

_MAX_LEFT_OUT = 20  # names of fields
_MAX_NAME_LENGTH = 100
_MAX_EXPORT_MEMORY = 16_000_000  # bytes of an export that are held in memory before they are moved to a file
_PROGRESS_THRESHOLD = 1000  # images: a smaller import is over before a progress bar can be read


def _printing(name: str, document: Callable[[], JsonObject], help_: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds an option, which prints a document and ends the command."""

    def show(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            click.echo(orjson.dumps(document(), option=orjson.OPT_INDENT_2))
            context.exit()

    return click.option(name, is_flag=True, is_eager=True, expose_value=False, callback=show, help=help_)


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
    show_default="public, for new images",
    help="Visibility of images that do not state it: public, private, shared or community.",
)
@click.option("--prune", is_flag=True, help="Delete the owner's images that are not in the files.")
@click.option(
    "--strict",
    is_flag=True,
    help="Reject images with fields that the catalog cannot store, except links and Glance's own properties.",
)
@click.option("--dry-run", is_flag=True, help="Report what would change, and change nothing.")
@_printing("--example", example_file, "Print an example of a file: a minimal image, and one with all fields.")
@_printing("--schema", file_schema, "Print the JSON Schema of files, for editors.")
@click.pass_obj
def import_(  # noqa: PLR0913 each is an argument or an option
    settings: Settings,
    files: Sequence[str],
    *,
    project_id: str | None,
    visibility: str | None,
    prune: bool,
    strict: bool,
    dry_run: bool,
) -> None:
    """Import images from files into the catalog.

    A FILE is JSON in UTF-8: what the Compute API returns for a list of images with details or for one image, what the
    image service (Glance v2) returns for them, a plain array of images, or what export writes; - is standard input.
    All images are validated first: either all files are imported, or none. Images that the catalog already contains
    are updated and keep their position in its order. Fields that the catalog cannot store are left out and reported;
    links, and properties of Glance such as checksum and disk_format, are ignored.

    With --prune, images that are not in the files are deleted; changes-since then shows them as DELETED. This affects
    only the images that the project of --tenant owns; without --tenant, only images without an owner. The files have to
    contain a whole list: --prune rejects single images, and lists that link to another page.
    """
    engine = open_catalog(settings.catalog)
    reader = ImageFileReader(owner=project_id, visibility=visibility, strict=strict, from_glance=to_file_image)
    owner = None if project_id is None else normalize_project_id(project_id)
    with _gc_disabled():
        content = _read_files(reader, files, prune=prune)
        if dry_run:
            result = preview_import(engine, content.images, unstated=content.unstated, owner=owner, prune=prune)
        else:
            result = import_images(
                engine,
                content.images,
                unstated=content.unstated,
                owner=owner,
                prune=prune,
                tombstone_days=settings.tombstone_days,
                progress=_with_progress,
            )
    click.echo(
        f"{'Would import' if dry_run else 'Imported'} {len(content.images)} images into {engine.name}: "
        f"{result.new} new, {result.changed} changed, {result.unchanged} unchanged, {result.pruned} pruned.",
        err=True,
    )
    _report_left_out(content)


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

    The output is collected in a temporary file before it is written: a reader of the output that pauses does not hold
    back the catalog's write-ahead log.
    """
    owner = None if project_id is None else normalize_project_id(project_id)
    images = export_images(open_catalog(settings.catalog), owner=owner, deleted=deleted)
    try:
        with SpooledTemporaryFile(_MAX_EXPORT_MEMORY) as spool:
            for part in dump_images(images):  # writelines would hold all parts in memory before it looks at their size
                spool.write(part)
            spool.seek(0)
            shutil.copyfileobj(spool, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader closed the pipe, as `head` does: click exits without a message
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        raise click.ClickException(str(error)) from error


def _read_files(reader: ImageFileReader, files: Sequence[str], *, prune: bool) -> ImageFiles:
    """Read the files, and warn of a missing page. Raises ClickException for invalid files, and those unfit to prune."""
    try:
        content = reader.read(map(_read, files))
    except InvalidImageFiles as error:
        raise click.ClickException("\n".join(error.lines)) from error
    if prune and content.part:
        raise click.ClickException(f"--prune needs a whole list of images, but {content.part}; nothing was imported.")
    for name in content.unfinished:
        click.echo(f"Warning: {name} links to a next page, whose images are not in the files.", err=True)
    return content


def _report_left_out(content: ImageFiles) -> None:
    """Write to standard error what was left out of how many images."""
    parts = [
        f"{escape_control_characters(name[:_MAX_NAME_LENGTH])} ({count} image{'' if count == 1 else 's'})"
        for name, count in content.left_out.most_common(_MAX_LEFT_OUT)
    ]
    if len(content.left_out) > len(parts):
        parts.append(f"{len(content.left_out) - len(parts)} other fields")
    if parts:
        click.echo(f"Left out: {', '.join(parts)}.", err=True)


def _read(file: str) -> tuple[str, bytes]:
    """Return the name of a file, for messages, and its content."""
    name = "standard input" if file == "-" else file
    try:
        with click.open_file(file, "rb") as stream:
            return name, stream.read()
    except OSError as error:
        raise click.FileError(name, error.strerror) from error


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
