"""The command that migrates the catalog."""

import click

from app.catalog.engine import COMMAND_TIMEOUT, SchemaState
from app.catalog.engines import open_catalog
from app.settings import Settings

_OUTPUT = {
    SchemaState.EMPTY: "Created {}.",
    SchemaState.OUTDATED: "Upgraded {}.",
    SchemaState.CURRENT: "{} needs no migration.",
}


@click.command()
@click.pass_obj
def migrate(settings: Settings) -> None:
    """Create an empty catalog, or upgrade one of an earlier version.

    If they have the privileges, import, mirror and token add do this themselves, and serve upgrades a catalog.
    With PostgreSQL, you can run this command as a role that may create tables, and the service as one that may not.
    """
    engine = open_catalog(settings.catalog)
    state = engine.schema_state()
    if state is not SchemaState.CURRENT:
        with engine.transaction(timeout=COMMAND_TIMEOUT) as transaction:
            state = transaction.state_before  # another process may have migrated the catalog meanwhile
    click.echo(_OUTPUT[state].format(engine.name), err=True)
