"""The command that runs the service."""

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from app.catalog.documents import load_sample
from app.catalog.engine import COMMAND_TIMEOUT, Engine, SchemaState
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogMissing
from app.catalog.transfer import ensure_catalog
from app.cli.addresses import UNIX, is_local, require_free
from app.cli.types import parse_bind_address, require_extra
from app.log_file import LogFile
from app.origins import host_name
from app.settings import InvalidSetting, Settings

if TYPE_CHECKING:
    from app.server.gunicorn import Server


@click.command()
@click.option(
    "--bind",
    type=parse_bind_address,
    metavar="HOST:PORT|unix:PATH",
    show_default="127.0.0.1:PORT",
    help="Address to listen on.",
)
@click.option("--workers", type=click.IntRange(1), show_default="WEB_CONCURRENCY", help="Number of worker processes.")
@click.option("--sample", is_flag=True, help="Create a missing catalog from the sample in the API's documentation.")
@click.option("--insecure", is_flag=True, help="Allow other machines to connect without authentication.")
@click.pass_obj
def serve(settings: Settings, *, bind: str | None, workers: int | None, sample: bool, insecure: bool) -> None:
    """Run the service, in gunicorn.

    If IMAGES_CATALOG names a catalog that does not exist, the service does not start, unless --sample is given. At the
    default location, a missing catalog is always created from the sample.
    """
    address = bind or f"127.0.0.1:{settings.port}"
    check_double(settings, address, workers)
    check_auth(settings, address, insecure=insecure)
    if settings.access_log_file:
        _check_access_log(settings.access_log_file)
    require_free(address)
    served = replace(settings, allowed_hosts=allowed_hosts(settings, address))
    if settings.test_double == "on":
        _run_double(served, address, sample=sample)
        return
    _ensure_catalog(settings, sample=sample)
    import_server()(served, bind=address, workers=workers or settings.workers).run()


def check_auth(settings: Settings, address: str, *, insecure: bool) -> None:
    """Raise an error if others can connect without authentication, unless that is intended.

    Raise an error, too, if Keystone rejects the credentials.
    """
    if settings.auth == "none" and not (insecure or is_local(address)):
        raise click.ClickException(
            f"IMAGES_AUTH is none, so everybody who can reach {address} could see and change the images of every "
            "project: set IMAGES_AUTH to token or keystone, or allow this with --insecure."
        )
    if settings.auth == "keystone":
        _check_keystone()


def _check_access_log(path: str) -> None:
    """Raise InvalidSetting here, so that a file that cannot be written causes one message, not one from each worker."""
    try:
        file = LogFile(path)
        file.open()
        file.close()
    except OSError as error:
        raise InvalidSetting(
            f"IMAGES_ACCESS_LOG_FILE is {path!r}, which cannot be written: {error.strerror}"
        ) from error


def _ensure_catalog(settings: Settings, *, sample: bool) -> None:
    """Upgrade the catalog, or create it from the sample. Raises CatalogMissing if it may not be created."""
    engine = _open_catalog(settings, sample=sample)
    imported = ensure_catalog(engine, load_sample, tombstone_days=settings.tombstone_days)
    if imported:
        click.echo(f"Created the catalog {engine.name} from the documented sample: {imported} images.", err=True)


def _open_catalog(settings: Settings, *, sample: bool) -> Engine:
    """Return the catalog. Raises CatalogMissing if there is none, and it may not be created."""
    engine = open_catalog(settings.catalog)
    if not (sample or settings.is_default_catalog) and engine.schema_state() is SchemaState.EMPTY:
        raise CatalogMissing(engine.name)
    return engine


def check_double(settings: Settings, address: str, workers: int | None) -> None:
    """Raise an error if others could control a test double, or if it should have several processes."""
    if settings.test_double != "on":
        return
    if address.startswith(UNIX) or not is_local(address):
        raise InvalidSetting(
            f"IMAGES_TEST_DOUBLE is 'on'; expected 'off' with --bind {address}, which is no loopback address"
        )
    if workers not in {None, 1}:
        raise InvalidSetting(
            f"--workers is {workers}; expected 1 with IMAGES_TEST_DOUBLE=on, because a test double is one process"
        )


def allowed_hosts(settings: Settings, address: str) -> tuple[str, ...] | None:
    """Return the hosts that requests may name, None for any.

    Where the address alone keeps others out, a website must not get in by a name that it resolves to this address.
    """
    if settings.allowed_hosts or settings.auth != "none" or not is_local(address):
        return settings.allowed_hosts
    own = [] if address.startswith(UNIX) else [address]
    if settings.compute_url:
        own.append(urlsplit(settings.compute_url).netloc)
    return ("localhost", "127.0.0.1", "[::1]", *map(host_name, own))


def _check_keystone() -> None:
    """Check the credentials here, so that wrong ones cause one clear message instead of one from each worker."""
    with require_extra("keystone", "IMAGES_AUTH=keystone"):
        from app.auth.keystone import check_credentials  # noqa: PLC0415 only this mode needs the extra
    check_credentials()


def _run_double(settings: Settings, address: str, *, sample: bool) -> None:
    """Serve a copy of the catalog, which is removed at the end. What tests change, tokens included, ends with it."""
    _prepare_imports()
    from app.server.single_process import run_double  # noqa: PLC0415

    with TemporaryDirectory(prefix="compute-images-") as folder:
        copied = replace(settings, catalog=f"{folder}/catalog.db")
        original = _open_catalog(settings, sample=sample)
        if original.schema_state() is not SchemaState.EMPTY:
            original.backup(backup := Path(folder) / "backup.db")
            open_catalog(copied.catalog).restore(backup, timeout=COMMAND_TIMEOUT)
            backup.unlink()
        _ensure_catalog(copied, sample=True)
        run_double(copied, address, original=original.name)


def import_server() -> "type[Server]":
    """Import the server only for `serve`: it takes a while, because it imports Connexion."""
    _prepare_imports()
    from app.server.gunicorn import Server  # noqa: PLC0415

    return Server


def _prepare_imports() -> None:
    """Prepare the import of Connexion, which imports httpx and Starlette's test client."""
    # Prevents httpx from importing its command, which would take 3 MB and 30 ms.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    # The test client recommends an HTTP client that Connexion does not install.
    warnings.filterwarnings("ignore", message="Using `httpx`")
