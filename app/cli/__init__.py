"""The command `compute-images`."""

import os
from typing import Any

import click

from app.cli.backup import backup, restore
from app.cli.check import check
from app.cli.console import show_error
from app.cli.migrate import migrate
from app.cli.mirror import mirror
from app.cli.serve import serve
from app.cli.status import status
from app.cli.token import token
from app.cli.transfer import export_, import_
from app.errors import DomainError
from app.settings import InvalidSetting, Settings
from app.text import escape_control_characters


class Commands(click.Group):
    """A group of commands that reports errors: in color on a terminal, and those of the domain in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a domain error or an invalid setting becomes a message without a traceback."""
        try:
            return super().invoke(ctx)
        except (DomainError, InvalidSetting) as error:
            show_error(click.ClickException(escape_control_characters(str(error))))
            ctx.exit(click.ClickException.exit_code)
        except click.ClickException as error:
            show_error(error)
            ctx.exit(error.exit_code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="compute-images")
@click.pass_context
def main(context: click.Context) -> None:
    """Serve the images API of OpenStack Compute v2 from a catalog, and manage the catalog.

    The setting IMAGES_CATALOG is the location of the catalog; the default is data/catalog.db. README.md lists all
    settings.
    """
    context.obj = Settings.from_env(os.environ)


for each in (serve, import_, export_, check, status, migrate, backup, restore, mirror, token):
    main.add_command(each)
