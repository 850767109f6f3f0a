"""The commands that back up the catalog and restore it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from app.catalog.backup import back_up_catalog, restore_catalog
from app.catalog.engines import open_catalog
from app.settings import Settings


def _require_path(_context: click.Context, _parameter: click.Parameter, file: Path) -> Path:
    """Reject the dash that means standard input or output elsewhere: a backup is checked as a file."""
    if str(file) == "-":
        raise click.BadParameter("'-' is not the path of a file")
    return file


@contextmanager
def _exiting_on_sigterm() -> Iterator[None]:
    """Exit as after any error, so that files which are not complete are removed."""
    previous = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), callback=_require_path)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.pass_obj
def backup(settings: Settings, file: Path, force: bool) -> None:
    """Write a backup of the catalog to FILE, while the service and the mirror run.

    A backup can be restored to SQLite or to PostgreSQL, whichever of them the catalog was in.

    The backup contains images, tombstones, tokens and the status of the mirror, all in one file that only its owner can
    read. FILE appears when the backup is complete and was checked.
    """
    engine = open_catalog(settings.catalog)
    with _exiting_on_sigterm():
        back_up_catalog(engine, file, replace=force)
    click.echo(f"Backed up {engine.name} to {file}: {file.stat().st_size} bytes.", err=True)
    if engine.backup_program:
        click.echo(f"To back up the database itself, use {engine.backup_program}.", err=True)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), callback=_require_path)
@click.option("--force", is_flag=True, help="Replace what the catalog contains.")
@click.pass_obj
def restore(settings: Settings, file: Path, force: bool) -> None:
    """Fill the catalog from the backup FILE. Stop the mirror first.

    The backup is checked first, and migrated if an earlier version created it. The contents of the catalog are then
    replaced in one transaction. The service may run; it responds from the restored catalog at once.
    """
    engine = open_catalog(settings.catalog)
    with _exiting_on_sigterm():
        restore_catalog(engine, file, replace=force)
    click.echo(f"Restored {engine.name} from {file}.", err=True)
