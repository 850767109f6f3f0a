"""How each server is started: the service, its ceiling, and its peers."""

import json
import sys
import sysconfig
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from app.catalog.models import SyncStatus, Upstream, UpstreamSnapshot
from app.catalog.replica import apply_snapshot
from app.catalog.tokens import add_token
from app.catalog.transfer import export_images
from app.mirror.status import write_sync_status
from tests.bench.catalogs import SAMPLE
from tests.bench.peers.prism import prism
from tests.bench.servers import ROOT, Answer, Spec
from tests.integration.server.service import COMMAND

TENANT = "openstack"
LIST = f"/v2/{TENANT}/images/detail"
KEPT = f"{LIST}?changes-since=2001-01-01T00:00:00Z"
VARIED = LIST + "?changes-since=2001-01-01T00:00:00.{n}Z"  # the contract cuts the fraction off: the same images
_VARIED_ROWS = "/catalog/images.json?_shape=array&_sort_desc=created&updated__gte=2001-01-01T00:00:00.{n}Z&_size="

_ANY_TOKEN = {"X-Auth-Token": "any"}  # which a mock of the contract asks for, too

_FRESH = 86_400  # seconds: longer than a benchmark

_WORKER = "uvicorn_worker.UvicornWorker"

_NOT_INSTALLED = "the extra `bench` is not installed"

SERVICE, CEILING = "compute-images", "ceiling"
CONNEXION, FASTAPI, DATASETTE, PRISM = "Connexion + Flask", "FastAPI", "Datasette", "Prism"


def service(catalog: Path, target: str = VARIED, **variables: str) -> Spec:
    """Start the service as its users do."""
    command = (COMMAND, "serve", "--bind", "127.0.0.1:{port}", "--workers", "1")
    return Spec(SERVICE, command, target, {"IMAGES_CATALOG": str(catalog), **variables})


def guarded(catalog: Path) -> Spec:
    """Start the service so that it asks for a token, and has one."""
    token = add_token(catalog, TENANT, is_admin=False, expires=None)
    return service(catalog, KEPT, IMAGES_AUTH="token")._replace(headers={"X-Auth-Token": token})


def copied(catalog: Path, folder: Path) -> Spec:
    """Start the service with the same images in a catalog that is a copy, and fresh."""
    folder.mkdir(parents=True, exist_ok=True)
    images = list(export_images(catalog, deleted=True))
    upstream = Upstream("http://glance.example.com", is_admin=True, good=time.time())
    apply_snapshot(folder / catalog.name, UpstreamSnapshot(upstream, images), tombstone_days=1)
    write_sync_status(folder / catalog.name, SyncStatus(good=upstream.good))
    return service(folder / catalog.name, KEPT, IMAGES_STALE_AFTER=str(_FRESH))


def ceiling(answer: Answer, folder: Path) -> Spec:
    """Start what sends the bytes of an answer of the service under the service's own worker."""
    folder.mkdir(parents=True, exist_ok=True)
    headers = [(name, value) for name, value in answer.headers if name.lower() != "date"]  # the worker adds one
    (folder / "headers").write_text(json.dumps(headers))
    (folder / "body").write_bytes(answer.body)
    return _gunicorn(CEILING, "ceiling", KEPT, worker="app.server.gunicorn.Worker", BENCH_ANSWER=str(folder))


class LeftOut(NamedTuple):
    """A peer that cannot be had here."""

    name: str
    reason: str


def peers(catalog: Path, size: int) -> Iterator[Spec | LeftOut]:
    """Start the peers that can answer so many images from a catalog."""
    yield _gunicorn(CONNEXION, "connexion_app", VARIED, BENCH_CATALOG=str(catalog))
    fastapi = _gunicorn(FASTAPI, "fastapi_app", VARIED, BENCH_CATALOG=str(catalog))
    yield fastapi if find_spec("fastapi") else LeftOut(FASTAPI, _NOT_INSTALLED)
    yield _datasette(catalog, size) if find_spec("datasette") else LeftOut(DATASETTE, _NOT_INSTALLED)
    if size == SAMPLE:
        command, reason = prism()
        yield _prism(command) if command else LeftOut(PRISM, reason)


def _gunicorn(name: str, module: str, target: str, *, worker: str = _WORKER, **variables: str) -> Spec:
    command = (sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "1", "--no-control-socket")
    return Spec(name, (*command, "--worker-class", worker, f"tests.bench.peers.{module}:app"), target, variables)


def _datasette(catalog: Path, size: int) -> Spec:
    script = str(Path(sysconfig.get_path("scripts")) / "datasette")
    command = (script, "serve", str(catalog), "--host", "127.0.0.1", "--port", "{port}")
    return Spec(DATASETTE, command, f"{_VARIED_ROWS}{size}", {})


def _prism(command: str) -> Spec:
    # It answers with the contract's example. The others write no log of requests either, but for Datasette.
    contract = str(ROOT / "openapi" / "compute-images.yaml")
    return Spec(
        PRISM, (command, "mock", "--verboseLevel", "silent", "--port", "{port}", contract), VARIED, {}, _ANY_TOKEN
    )
