"""The command `compute-images`."""

import errno
import gc
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from app.catalog import Record, export, load, prepare
from app.catalog_file import BadFile, CatalogFiles, check_field, sample, written
from app.faults import DomainError, printable, quote
from app.settings import BadSetting, Settings
from app.tenants import comparable

if TYPE_CHECKING:
    from app.server import Server

_LONG = 1000  # images
_LAST_PORT = 65535


class Field(click.ParamType[str]):
    """What a field of the images in a catalog file takes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the value against the schemas of catalog files."""
        try:
            check_field(self.name, value)
        except BadFile as error:
            self.fail(str(error), param, ctx)
        return value


class Address(click.ParamType[str]):
    """Where to listen."""

    name = "HOST:PORT"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that both are there, and the port is one."""
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):([0-9]{1,5})", value)
        if not match or int(match[2]) > _LAST_PORT:
            self.fail(f"{quote(value)} is not HOST:PORT", param, ctx)
        return value


class Commands(click.Group):
    """A group of commands whose errors are said in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what goes wrong in the domain is a message, not a traceback."""
        try:
            return super().invoke(ctx)
        except (DomainError, BadSetting) as error:
            raise click.ClickException(printable(str(error))) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="compute-images")
@click.pass_context
def main(context: click.Context) -> None:
    """Answer which images a project can use, in the OpenStack Compute v2 format, from a SQLite catalog.

    The catalog is the file that IMAGES_CATALOG names: data/catalog.db, unless told. The README lists all settings.
    """
    context.obj = Settings.from_env(os.environ)


@main.command()
@click.option("--bind", type=Address(), help="Where to listen.  [default: 127.0.0.1 and PORT, or 8774]")
@click.option("--workers", type=click.IntRange(1), help="How many processes answer.  [default: WEB_CONCURRENCY, or 2]")
@click.pass_obj
def serve(settings: Settings, bind: str | None, workers: int | None) -> None:
    """Run the service, in gunicorn.

    Where there is no catalog yet, it is made from the images that the API's own documentation shows.
    """
    made = prepare(settings.catalog, sample)
    if made:
        click.echo(f"Made the catalog {settings.catalog} from the documented sample: {made} images.", err=True)
    imported_server()(settings, bind=bind or f"127.0.0.1:{settings.port}", workers=workers or settings.workers).run()


@main.command("import")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--tenant", type=Field("owner"), metavar="ID", help="The owner of images that name none.")
@click.option(
    "--visibility",
    type=Field("visibility"),
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
    reader = CatalogFiles(owner=tenant, visibility=visibility)
    owner = None if tenant is None else comparable(tenant)
    with _nothing_collected():
        records = [record for file in files for record in reader.read(*_content(file))]
        loaded = load(
            settings.catalog, records, owner=owner, prune=prune, tombstone_days=settings.tombstone_days, watch=_watched
        )
    click.echo(
        f"Imported {len(records)} images into {settings.catalog}: {loaded.new} new, {loaded.changed} changed, "
        f"{loaded.unchanged} unchanged, {loaded.pruned} pruned.",
        err=True,
    )


@main.command("export")
@click.option("--tenant", type=Field("owner"), metavar="ID", help="Only the images that this project owns.")
@click.option("--deleted", is_flag=True, help="Tombstones of deleted images too.")
@click.pass_obj
def export_(settings: Settings, tenant: str | None, deleted: bool) -> None:
    """Write the catalog to standard output, as a file that import reads.

    With --deleted it is the whole catalog: importing it into an empty one gives the same.
    """
    owner = None if tenant is None else comparable(tenant)
    try:
        sys.stdout.buffer.writelines(written(export(settings.catalog, owner=owner, deleted=deleted)))
        sys.stdout.buffer.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read it has had enough: click ends quietly
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would fail on it again at its end
        raise click.ClickException(str(error)) from error


def imported_server() -> "type[Server]":
    """Import the server, which takes its time with Connexion: no other command needs it."""
    with warnings.catch_warnings():
        # Connexion imports Starlette's test client, which asks for another HTTP client than Connexion brings.
        warnings.filterwarnings("ignore", message="Using `httpx`")
        from app.server import Server  # noqa: PLC0415

    return Server


def _content(file: str) -> tuple[str, bytes]:
    """Read a file, and give the name by which to speak of it."""
    with click.open_file(file, "rb") as stream:
        return "standard input" if file == "-" else file, stream.read()


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Have the garbage collector rest: it would look for what can go all the time, and all is kept to the end."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _watched(records: Sequence[Record]) -> Iterable[Record]:
    """Show how far a long import is, to a person at a terminal."""
    if len(records) < _LONG or not _at_a_terminal():
        yield from records
        return
    with click.progressbar(records, label="Importing", file=sys.stderr) as bar:
        yield from bar


def _at_a_terminal() -> bool:
    return sys.stderr.isatty()


if __name__ == "__main__":
    main()
