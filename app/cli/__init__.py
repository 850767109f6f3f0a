"""The command `compute-images`."""

import os
from typing import Any

import click

from app.cli.files import export_, import_
from app.cli.mirroring import mirror
from app.cli.serving import serve
from app.cli.tokens import token
from app.faults import DomainError, printable
from app.settings import BadSetting, Settings


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


for each in (serve, import_, export_, mirror, token):
    main.add_command(each)
