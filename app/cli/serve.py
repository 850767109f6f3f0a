"""The command that runs the service."""

import ipaddress
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from app.catalog.documents import load_sample
from app.catalog.engines import open_catalog
from app.catalog.transfer import ensure_catalog
from app.cli.types import BindAddressType, require_extra
from app.origins import host_name
from app.settings import Settings

if TYPE_CHECKING:
    from app.server.gunicorn import Server


@click.command()
@click.option("--bind", type=BindAddressType(), show_default="127.0.0.1:PORT", help="Address to listen on.")
@click.option("--workers", type=click.IntRange(1), show_default="WEB_CONCURRENCY", help="Number of worker processes.")
@click.pass_obj
def serve(settings: Settings, bind: str | None, workers: int | None) -> None:
    """Run the service, in gunicorn.

    A catalog that does not exist yet is created from the sample in the API's documentation.
    """
    address = bind or f"127.0.0.1:{settings.port}"
    check_auth(settings, address)
    engine = open_catalog(settings.catalog)
    imported = ensure_catalog(engine, load_sample, tombstone_days=settings.tombstone_days)
    if imported:
        click.echo(f"Created the catalog {engine.name} from the documented sample: {imported} images.", err=True)
    served = replace(settings, allowed_hosts=allowed_hosts(settings, address))
    import_server()(served, bind=address, workers=workers or settings.workers).run()


def check_auth(settings: Settings, address: str) -> None:
    """Warn if others can connect without authentication. Raise an error if Keystone rejects the credentials."""
    if settings.auth == "none" and not _is_loopback(address):
        click.echo(
            f"Warning: authentication is disabled (IMAGES_AUTH is none): everybody who can reach {address} can see and "
            "change the images of every project.",
            err=True,
        )
    if settings.auth == "keystone":
        _check_keystone()


def allowed_hosts(settings: Settings, address: str) -> tuple[str, ...] | None:
    """Return the hosts that requests may name, None for any.

    Where the address alone keeps others out, a website must not get in by a name that it resolves to this address.
    """
    if settings.allowed_hosts or settings.auth != "none" or not _is_loopback(address):
        return settings.allowed_hosts
    own = [address, *([urlsplit(settings.compute_url).netloc] if settings.compute_url else [])]
    return ("localhost", "127.0.0.1", "[::1]", *map(host_name, own))


def _check_keystone() -> None:
    """Check the credentials here, so that wrong ones cause one clear message instead of one from each worker."""
    with require_extra("keystone", "IMAGES_AUTH=keystone"):
        from app.auth.keystone import check_credentials  # noqa: PLC0415 only this mode needs the extra
    check_credentials()


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def import_server() -> "type[Server]":
    """Import the server only for `serve`: it takes a while, because it imports Connexion."""
    with warnings.catch_warnings():
        # Connexion imports Starlette's test client, which recommends an HTTP client that Connexion does not install.
        warnings.filterwarnings("ignore", message="Using `httpx`")
        from app.server.gunicorn import Server  # noqa: PLC0415

    return Server
