"""The commands that create, list and revoke tokens."""

import click

from app.catalog.documents import load_sample
from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token, list_tokens, revoke_tokens
from app.catalog.transfer import ensure_catalog
from app.cli.types import field_parser, parse_expiry
from app.settings import Settings
from app.timestamps import SYSTEM_CLOCK


@click.group()
def token() -> None:
    """Manage the tokens of the catalog, for IMAGES_AUTH=token."""


@token.command("add")
@click.argument("project_id", metavar="TENANT", type=field_parser("owner"))
@click.option(
    "--expires",
    type=parse_expiry,
    metavar="TIME",
    show_default="never",
    help="When the token expires: a duration, such as 90d or 12h, or a time, such as 2030-01-31T00:00:00Z.",
)
@click.option("--admin", is_flag=True, help="Create an administrator's token, which is valid for every project.")
@click.pass_obj
def add(settings: Settings, project_id: str, expires: str | None, admin: bool) -> None:
    """Create a token for the project TENANT.

    The token is written to standard output. It is not shown again: the catalog stores only a hash of it. A missing
    catalog is created: at the default location from the documented sample, elsewhere without images.
    """
    engine = open_catalog(settings.catalog)
    load_images = load_sample if settings.is_default_catalog else list
    ensure_catalog(engine, load_images, tombstone_days=settings.tombstone_days)
    click.echo(add_token(engine, project_id, is_admin=admin, expires=expires))


@token.command("list")
@click.pass_obj
def list_(settings: Settings) -> None:
    """List all tokens.

    Each line shows the id, the project, whether the token is an administrator's, its creation and its expiry.
    """
    for each in list_tokens(open_catalog(settings.catalog)):
        role = "admin" if each.is_admin else "-"
        expired = " (expired)" if each.is_expired(SYSTEM_CLOCK.now()) else ""
        click.echo(f"{each.id}  {each.project_id:32}  {role:5}  {each.created}  {each.expires or 'never'}{expired}")


@token.command("revoke")
@click.argument("tokens", metavar="TOKEN...", nargs=-1, required=True)
@click.pass_obj
def revoke(settings: Settings, tokens: tuple[str, ...]) -> None:
    """Revoke tokens. They become invalid at once. If the catalog lacks one of them, no token is revoked.

    A TOKEN is the id that list shows, or the whole token.
    """
    revoke_tokens(open_catalog(settings.catalog), tokens)
