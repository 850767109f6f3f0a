"""How each server is started: the service, constant bytes and the peers."""

import json
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from app.catalog.engines import open_catalog
from app.catalog.models import SyncStatus, Upstream, UpstreamSnapshot
from app.catalog.replica import apply_snapshot
from app.catalog.tokens import add_token
from app.catalog.transfer import export_images
from tests.bench.catalogs import SAMPLE
from tests.bench.peers.prism import prism
from tests.bench.servers import HOST, ROOT, Response, Spec
from tests.integration.server.service import COMMAND
from tests.support.projects import LIST_URL, SAMPLE_PROJECT

CACHED_TARGET = f"{LIST_URL}?changes-since=2001-01-01T00:00:00Z"
_VARIED_QUERY = "?changes-since=2001-01-01T00:00:00.{n}Z"  # fractions of a second are ignored
VARIED_TARGET = LIST_URL + _VARIED_QUERY
_VARIED_ROWS = "/catalog/images.json?_shape=array&_sort_desc=created&updated__gte=2001-01-01T00:00:00.{n}Z&_size="

_ANY_TOKEN = {"X-Auth-Token": "any"}  # a mock of the contract requires one

_STALE_AFTER = 86_400  # seconds: longer than a benchmark

_WORKER = "uvicorn_worker.UvicornWorker"

_NOT_INSTALLED = "the extra `bench` is not installed"

SERVICE, CONSTANT = "compute-images", "constant bytes"
CONNEXION, FASTAPI = "Connexion + Flask, stock", "FastAPI with a response model"
DATASETTE, PRISM = "Datasette, rows of the table", "Prism, mock of the contract"
SAME_API = {SERVICE, CONNEXION, FASTAPI}  # they return the same images with the same links


def project_target(number: int) -> str:
    """Return the varied target of a project that owns no images."""
    return f"/v2/{number:032x}/images/detail{_VARIED_QUERY}"


def service(catalog: Path | str, target: str = VARIED_TARGET, **variables: str) -> Spec:
    """Return the service, started as users start it."""
    command = (COMMAND, "serve", "--bind", "127.0.0.1:{port}", "--workers", "1")
    return Spec(SERVICE, command, target, {"IMAGES_CATALOG": str(catalog), "IMAGES_ALLOWED_HOSTS": HOST, **variables})


def authenticated(catalog: Path) -> Spec:
    """Return the service with authentication, and a valid token."""
    token = add_token(open_catalog(catalog), SAMPLE_PROJECT, is_admin=False, expires=None)
    return service(catalog, CACHED_TARGET, IMAGES_AUTH="token")._replace(headers={"X-Auth-Token": token})


def replicated(catalog: Path, folder: Path) -> Spec:
    """Return the service with the same images in a fresh replica."""
    replica = open_catalog(folder / "replica.db")
    images = list(export_images(open_catalog(catalog), deleted=True))
    upstream = Upstream("http://glance.example.com", is_admin=True, synced_at=time.time())
    apply_snapshot(replica, UpstreamSnapshot(upstream, images), tombstone_days=1)
    replica.write_sync_status(SyncStatus(synced_at=upstream.synced_at))
    return service(folder / "replica.db", CACHED_TARGET, IMAGES_STALE_AFTER=str(_STALE_AFTER))


def constant_bytes(response: Response, folder: Path) -> Spec:
    """Return a server that sends the bytes of one response of the service, with the service's own worker."""
    headers = [(name, value) for name, value in response.headers if name.lower() != "date"]  # the worker adds one
    (folder / "headers").write_text(json.dumps(headers))
    (folder / "body").write_bytes(response.body)
    return _gunicorn(
        CONSTANT, "constant_bytes", CACHED_TARGET, worker="app.server.worker.Worker", BENCH_RESPONSE=str(folder)
    )


class Skipped(NamedTuple):
    """A peer that is not installed."""

    name: str
    reason: str


def peers(catalog: Path, size: int) -> Iterator[Spec | Skipped]:
    """Yield the peers that can list so many images of a catalog."""
    yield _gunicorn(CONNEXION, "connexion_app", VARIED_TARGET, BENCH_CATALOG=str(catalog))
    fastapi = _gunicorn(FASTAPI, "fastapi_app", VARIED_TARGET, BENCH_CATALOG=str(catalog))
    yield fastapi if find_spec("fastapi") else Skipped(FASTAPI, _NOT_INSTALLED)
    yield _datasette(catalog, size) if find_spec("datasette") else Skipped(DATASETTE, _NOT_INSTALLED)
    if size == SAMPLE:
        command, reason = prism()
        yield _prism(command) if command else Skipped(PRISM, reason)


def _gunicorn(name: str, module: str, target: str, *, worker: str = _WORKER, **variables: str) -> Spec:
    options = ("--bind", "127.0.0.1:{port}", "--workers", "1", "--worker-class", worker, "--no-control-socket")
    # Without a timeout: stock Connexion blocks its event loop for so long that gunicorn would kill its worker.
    command = (sys.executable, "-m", "gunicorn", *options, "--timeout", "0")
    return Spec(name, (*command, f"tests.bench.peers.{module}:app"), target, variables)


def _datasette(catalog: Path, size: int) -> Spec:
    command = (sys.executable, "-m", "datasette", "serve", str(catalog), "--host", "127.0.0.1", "--port", "{port}")
    return Spec(DATASETTE, command, f"{_VARIED_ROWS}{size}", {})


def _prism(command: str) -> Spec:
    # It returns the contract's example. Like the other servers except Datasette, it logs no requests.
    contract = str(ROOT / "openapi" / "compute-images.yaml")
    return Spec(
        PRISM,
        (command, "mock", "--verboseLevel", "silent", "--port", "{port}", contract),
        VARIED_TARGET,
        {},
        _ANY_TOKEN,
    )
