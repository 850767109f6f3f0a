"""The command that migrates the catalog."""

import click

from app.catalog.engine import COMMAND_TIMEOUT, SchemaState
from app.catalog.engines import open_catalog
from app.settings import Settings


@click.command()
@click.pass_obj
def migrate(settings: Settings) -> None:
    """Create an empty catalog, or upgrade one of an earlier version.

    If they have the privileges, import, mirror and token add do this themselves, and serve upgrades a catalog.
    With PostgreSQL, you can run this command as a role that may create tables, and the service as one that may not.
    """
    engine = open_catalog(settings.catalog)
    if engine.schema_state() is SchemaState.CURRENT:
        click.echo(f"{engine.name} needs no migration.", err=True)
        return
    with engine.transaction(timeout=COMMAND_TIMEOUT) as transaction:
        is_new = transaction.is_new
    click.echo(f"{'Created' if is_new else 'Upgraded'} {engine.name}.", err=True)
