"""The commands that make, list and revoke tokens."""

import click

from app.catalog.documents import load_sample
from app.catalog.models import Token
from app.catalog.tokens import add_token, list_tokens, revoke_tokens
from app.catalog.transfer import ensure_catalog
from app.cli.types import ExpiryType, ImageFieldType
from app.settings import Settings
from app.timestamps import now


@click.group()
def token() -> None:
    """Make, list and revoke tokens, which IMAGES_AUTH=token asks for."""


@token.command("add")
@click.argument("tenant", type=ImageFieldType("owner"))
@click.option(
    "--expires", type=ExpiryType(), help="When it ends, such as 90d, 12h or 2030-01-31T00:00:00Z; never, unless told."
)
@click.option("--admin", is_flag=True, help="It is an administrator's: it speaks for every project.")
@click.pass_obj
def add(settings: Settings, tenant: str, expires: str | None, admin: bool) -> None:
    """Make a token of the project TENANT, and write it to standard output.

    It is shown this once: the catalog keeps a hash of it.
    """
    ensure_catalog(settings.catalog, load_sample)
    click.echo(add_token(settings.catalog, tenant, is_admin=admin, expires=expires))


@token.command("list")
@click.pass_obj
def list_(settings: Settings) -> None:
    """List the tokens: id, project, whether an administrator's, when made, when they end."""
    for each in list_tokens(settings.catalog):
        click.echo("  ".join(_cells(each)))


@token.command("revoke")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.pass_obj
def revoke(settings: Settings, ids: tuple[str, ...]) -> None:
    """End tokens, named by their ids. It holds from the next request on."""
    revoke_tokens(settings.catalog, ids)


def _cells(each: Token) -> list[str]:
    over = " (over)" if each.expires and each.expires <= now() else ""
    return [
        each.id,
        f"{each.tenant:32}",
        "admin" if each.is_admin else "-    ",
        each.created,
        (each.expires or "never") + over,
    ]
