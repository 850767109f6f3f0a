"""How each server is started: the service, its ceiling, and its peers."""

import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tests.bench.catalogs import SAMPLE
from tests.bench.peers.prism import prism
from tests.bench.servers import ROOT, Answer, Spec
from tests.server.service import COMMAND

LIST = "/v2/openstack/images/detail"
KEPT = f"{LIST}?changes-since=2001-01-01T00:00:00Z"
VARIED = LIST + "?changes-since=2001-01-01T00:00:00.{n}Z"  # the contract cuts the fraction off: the same images
_VARIED_ROWS = "/catalog/images.json?_shape=array&_sort_desc=created&updated__gte=2001-01-01T00:00:00.{n}Z&_size="

_WORKER = "uvicorn_worker.UvicornWorker"

SERVICE, CEILING = "compute-images", "ceiling"
CONNEXION, FASTAPI, DATASETTE, PRISM = "Connexion + Flask", "FastAPI", "Datasette", "Prism"


def service(catalog: Path, target: str = VARIED, **variables: str) -> Spec:
    """Start the service as its users do."""
    command = (COMMAND, "serve", "--bind", "127.0.0.1:{port}", "--workers", "1")
    return Spec(SERVICE, command, target, {"IMAGES_CATALOG": str(catalog), **variables})


def ceiling(answer: Answer, folder: Path) -> Spec:
    """Start what sends the bytes of an answer of the service under the service's own worker."""
    folder.mkdir(parents=True, exist_ok=True)
    headers = [(name, value) for name, value in answer.headers if name.lower() != "date"]  # the worker adds one
    (folder / "headers").write_text(json.dumps(headers))
    (folder / "body").write_bytes(answer.body)
    return _gunicorn(CEILING, "ceiling", KEPT, worker="app.server.Worker", BENCH_ANSWER=str(folder))


def peers(catalog: Path, size: int, cache: Path) -> Iterator[Spec]:
    """Start the peers that can answer so many images from a catalog; say which cannot be had."""
    yield _gunicorn(CONNEXION, "connexion_app", VARIED, BENCH_CATALOG=str(catalog))
    if _has("fastapi"):
        yield _gunicorn(FASTAPI, "fastapi_app", VARIED, BENCH_CATALOG=str(catalog))
    if _has("datasette"):
        yield _datasette(catalog, size)
    if size == SAMPLE:
        command, reason = prism(cache)
        if command:
            yield _prism(command)
        else:
            _leave_out(PRISM, reason)


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
    return Spec(PRISM, (command, "mock", "--verboseLevel", "silent", "--port", "{port}", contract), VARIED, {})


def _has(module: str) -> bool:
    if importlib.util.find_spec(module):
        return True
    _leave_out(module, "the extra `bench` is not installed")
    return False


def _leave_out(name: str, reason: str) -> None:
    print(f"{name} is left out: {reason}.", file=sys.stderr)  # noqa: T201 the command's own words
