"""The command that runs the service."""

import ipaddress
import warnings
from typing import TYPE_CHECKING

import click

from app.catalog.documents import load_sample
from app.catalog.transfer import ensure_catalog
from app.cli.types import BindAddressType, require_extra
from app.settings import Settings

if TYPE_CHECKING:
    from app.server.gunicorn import Server


@click.command()
@click.option("--bind", type=BindAddressType(), help="Where to listen.  [default: 127.0.0.1 and PORT, or 8774]")
@click.option("--workers", type=click.IntRange(1), help="How many processes answer.  [default: WEB_CONCURRENCY, or 2]")
@click.pass_obj
def serve(settings: Settings, bind: str | None, workers: int | None) -> None:
    """Run the service, in gunicorn.

    Where there is no catalog yet, it is made from the images that the API's own documentation shows.
    """
    address = bind or f"127.0.0.1:{settings.port}"
    _check_auth(settings, address)
    made = ensure_catalog(settings.catalog, load_sample)
    if made:
        click.echo(f"Made the catalog {settings.catalog} from the documented sample: {made} images.", err=True)
    imported_server()(settings, bind=address, workers=workers or settings.workers).run()


def _check_auth(settings: Settings, address: str) -> None:
    if settings.auth == "none" and not _is_loopback(address):
        click.echo(
            f"Warning: nobody is asked for a token (IMAGES_AUTH is none): whoever reaches {address} can see and change "
            "the images of every project.",
            err=True,
        )
    if settings.auth == "keystone":
        _check_keystone()


def _check_keystone() -> None:
    """Stop here, with one line, where each worker would."""
    with require_extra("keystone", "IMAGES_AUTH=keystone"):
        from app.auth.keystone import check_credentials  # noqa: PLC0415 which other modes need not have
    check_credentials()


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def imported_server() -> "type[Server]":
    """Import the server, which takes its time with Connexion: no other command needs it."""
    with warnings.catch_warnings():
        # Connexion imports Starlette's test client, which asks for another HTTP client than Connexion brings.
        warnings.filterwarnings("ignore", message="Using `httpx`")
        from app.server.gunicorn import Server  # noqa: PLC0415

    return Server
