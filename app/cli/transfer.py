"""The commands that import images into the catalog and export the catalog."""

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click
import orjson
from click.core import ParameterSource

from app.catalog.documents import dump_images
from app.catalog.engines import open_catalog
from app.catalog.image_files import ImageFiles
from app.catalog.image_schema import example_file, file_schema
from app.catalog.models import JsonObject
from app.catalog.transfer import export_images, import_images, preview_import
from app.cli.console import track, warn
from app.cli.import_report import AccessWarnings, report_left_out
from app.cli.output import write_file, write_stdout
from app.cli.sources import Source
from app.cli.types import field_parser, parse_base_url, read_token
from app.files import require_replaceable
from app.settings import Settings
from app.text import normalize_project_id

_Command = TypeVar("_Command", bound=Callable[..., object])


def _printing(name: str, document: Callable[[], JsonObject], help_: str) -> Callable[[_Command], _Command]:
    """Return a decorator that adds an option, which prints a document and ends the command."""

    def show(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            click.echo(orjson.dumps(document(), option=orjson.OPT_INDENT_2))
            context.exit()

    return click.option(name, is_flag=True, is_eager=True, expose_value=False, callback=show, help=help_)


@click.command("import")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--from-compute",
    "compute_url",
    type=parse_base_url,
    metavar="URL",
    help="Instead of files, read all images of a Compute API: its URL with version and project.",
)
@click.option(
    "--token",
    type=read_token,
    metavar="TOKEN",
    envvar="OS_TOKEN",
    show_envvar=True,
    help="The token for --from-compute: @FILE, - for standard input, or the token itself, which other users of the "
    "machine can then see.",
)
@click.option(
    "--from-glance",
    is_flag=True,
    help="Instead of files, read all images of a cloud's image service. The cloud is configured as for mirror.",
)
@click.option(
    "--tenant",
    "project_id",
    type=field_parser("owner"),
    metavar="ID",
    help="The project that owns images without an owner.",
)
@click.option(
    "--visibility",
    type=field_parser("visibility"),
    metavar="WHO",
    show_default="public, for new images",
    help="The visibility of images that do not state one: public, private, shared or community.",
)
@click.option("--prune", is_flag=True, help="Also delete the owner's images that are not in the files.")
@click.option(
    "--strict",
    is_flag=True,
    help="Reject images with fields that the catalog cannot store; links and Glance's own properties are ignored.",
)
@click.option("--dry-run", is_flag=True, help="Report what would change, and change nothing.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the images to a file instead of the catalog; - is standard output.",
)
@click.option("--force", is_flag=True, help="Replace the file of --output if it exists.")
@_printing("--example", example_file, "Print an example of an image file: a minimal image, and one with all fields.")
@_printing("--schema", file_schema, "Print the JSON Schema of image files, for editors.")
@click.pass_context
def import_(  # noqa: PLR0913 each is an argument or an option
    context: click.Context,
    files: Sequence[str],
    *,
    compute_url: str | None,
    token: str | None,
    from_glance: bool,
    project_id: str | None,
    visibility: str | None,
    prune: bool,
    strict: bool,
    dry_run: bool,
    output: str | None,
    force: bool,
) -> None:
    """Import images into the catalog: from files, from a Compute API, or from a cloud's image service.

    A FILE is JSON in UTF-8: a response of the Compute API or of the image service (Glance v2) with a detailed list of
    images or one image, an array of images, or the output of export; - is standard input. Only the id of an image is
    required; all other fields have defaults.

    All images are validated first: either all of them are imported, or none. Images that the catalog already contains
    are updated, and keep their position in lists and the values of fields that the file omits. Fields that the catalog
    cannot store are left out and reported; links, and properties of Glance such as checksum and disk_format, are
    ignored.

    With --prune, images that are not in the files are deleted; changes-since then shows them as DELETED. This affects
    only the images that the project of --tenant owns; without --tenant, only images without an owner. The files have to
    contain a complete list: --prune rejects single images, and lists that link to another page.
    """
    _require_consistent(context)
    if output is not None and output != "-":
        require_replaceable(Path(output), replace=force)
    source = Source(owner=project_id, visibility=visibility, strict=strict)
    owner = None if project_id is None else normalize_project_id(project_id)
    gc.disable()  # an import creates many objects, and frees none before its end
    context.call_on_close(gc.enable)
    if compute_url is not None:
        content = source.compute(compute_url, token)
    else:
        content = source.glance() if from_glance else source.files(files)
    if output is None:
        report = _store(context.obj, content, owner=owner, prune=prune, dry_run=dry_run)
    else:
        report = _write(content, output)
    for name in content.unfinished:
        warn(f"{name} links to a next page, whose images are not in the files.")
    click.echo(report, err=True)
    report_left_out(content)


def _require_consistent(context: click.Context) -> None:
    """Raise UsageError for arguments and options that exclude each other."""
    given = context.params
    if [bool(given["files"]), given["compute_url"] is not None, given["from_glance"]].count(True) != 1:
        raise click.UsageError("Specify exactly one source of images: FILE..., --from-compute or --from-glance.")
    if given["compute_url"] is None and context.get_parameter_source("token") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--token can be used with --from-compute only.")
    if given["output"] is not None and (given["prune"] or given["dry_run"]):
        raise click.UsageError("--prune and --dry-run cannot be used with --output.")
    if given["output"] is None and given["force"]:
        raise click.UsageError("--force is for --output.")


def _store(settings: Settings, content: ImageFiles, *, owner: str | None, prune: bool, dry_run: bool) -> str:
    """Write the images to the catalog, unless it is a dry run, and return a report. Raises what the catalog raises."""
    if prune and content.part:
        raise click.ClickException(f"--prune needs a complete list, but {content.part}; nothing was imported.")
    engine, access = open_catalog(settings.catalog), AccessWarnings(content.places)
    if dry_run:
        result = preview_import(
            engine, content.images, unstated=content.unstated, owner=owner, prune=prune, observe=access.observe
        )
    else:
        result = import_images(
            engine,
            content.images,
            unstated=content.unstated,
            owner=owner,
            prune=prune,
            tombstone_days=settings.tombstone_days,
            observe=lambda images: track(access.observe(images), "Importing", len(content.images), lines=True),
        )
    access.show()
    return (
        f"{'Would import' if dry_run else 'Imported'} {len(content.images)} images into {engine.name}: "
        f"{result.new} new, {result.changed} changed, {result.unchanged} unchanged, {result.pruned} pruned."
    )


def _write(content: ImageFiles, output: str) -> str:
    """Write the images to a file, with the fields that they state, and return a report."""
    parts = dump_images(content.images, content.unstated)
    if output == "-":
        write_stdout(parts)
    else:
        write_file(Path(output), parts)
    return f"Wrote {len(content.images)} images to {'standard output' if output == '-' else output}."


@click.command("export")
@click.option(
    "--tenant",
    "project_id",
    type=field_parser("owner"),
    metavar="ID",
    help="Export only images that this project owns.",
)
@click.option("--deleted", is_flag=True, help="Include the tombstones of deleted images.")
@click.pass_obj
def export_(settings: Settings, project_id: str | None, deleted: bool) -> None:
    """Write the catalog to standard output.

    The output is an image file that import reads. With --deleted, importing it into an empty catalog restores all
    images and tombstones.

    The output is collected in a temporary file before it is written, so that a slow reader of the output does not make
    the catalog's write-ahead log grow.
    """
    owner = None if project_id is None else normalize_project_id(project_id)
    images = export_images(open_catalog(settings.catalog), owner=owner, deleted=deleted)
    write_stdout(dump_images(track(images, "Exporting")))
