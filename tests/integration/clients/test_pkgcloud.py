"""pkgcloud from npm against the running service."""

from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.integration.server.service import run, serving
from tests.support.images import Fields, catalog_of, image, image_id
from tests.support.npm import modules
from tests.support.packages import Missing

VERSIONS = ["1.7.0", "2.2.0"]
SCRIPT = Path(__file__).parent / "scripts" / "pkgcloud.cjs"

pytestmark = pytest.mark.external(install=[partial(modules, f"pkgcloud@{version}") for version in VERSIONS])

PROJECT, OTHER = "1" * 32, "2" * 32
OWN, FOREIGN = image_id(1), image_id(2)

IMAGES = [
    image(1, name="own", owner=PROJECT, created="2021-01-01T00:00:00Z", metadata={"kernel_id": "nokernel"}),
    image(2, owner=OTHER),
    image(3, owner=OTHER, visibility="private"),
    image(4, owner=PROJECT, status="SAVING", progress=50, created="2019-01-01T00:00:00Z"),
]


@pytest.fixture(scope="module", params=VERSIONS)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """List, show, change and destroy images with pkgcloud; return its results."""
    folder = tmp_path_factory.mktemp("pkgcloud")
    try:
        packages = modules(f"pkgcloud@{request.param}")
    except Missing as missing:
        pytest.skip(str(missing))
    with serving(folder, IMAGES_CATALOG=str(catalog_of(folder, *IMAGES))) as service:
        url = f"http://127.0.0.1:{service.port}/v2/{PROJECT}"
        ended = run("node", str(SCRIPT), url, OWN, FOREIGN, folder=folder, NODE_PATH=str(packages))
    assert ended.returncode == 0, ended.stderr
    results = orjson.loads(ended.stdout)
    assert results.pop("version") == request.param
    return results


def pkgcloud_image(fields: Fields) -> Fields:
    return {name: fields[name] for name in ("id", "name", "status", "progress", "created", "updated")}


def failed(status: int, word: str, request: str, **fault: str) -> Fields:
    """Return pkgcloud's error for a fault; it has its own word for a status."""
    return {
        "provider": "openstack",
        "failCode": word,
        "statusCode": status,
        "message": f"openstack Error ({status}): {word}",
        "request": request,
        "result": {name: {"code": status, "message": message} for name, message in fault.items()},
    }


EXPECTED = {
    "listed": [pkgcloud_image(fields) for fields in (IMAGES[0], IMAGES[1], IMAGES[3])],
    "shown": pkgcloud_image(IMAGES[0]),
    "metadata": {"metadata": {"kernel_id": "nokernel", "os": "plan9"}},
    "invalid key": failed(
        400,
        "Bad Request",
        f"POST /v2/{PROJECT}/images/{OWN}/metadata",
        badRequest='Invalid request body: metadata: "no/key" does not match "^[A-Za-z0-9_:. -]{1,255}$".',
    ),
    "invalid project": failed(
        400,
        "Bad Request",
        "GET /v2/%00/images/detail",
        badRequest=(
            r"Parameter 'tenant_id': '\x00' is not a project id: "
            "1 to 64 characters without '/', '?', '#' and control characters, but not '.' or '..'."
        ),
    ),
    "foreign image": failed(
        403,
        "Resize not allowed",
        f"DELETE /v2/{PROJECT}/images/{FOREIGN}",
        forbidden=f"Image '{FOREIGN}' does not belong to the project.",
    ),
    "destroyed": {"ok": OWN},
    "shown after deletion": failed(
        404, "Item not found", f"GET /v2/{PROJECT}/images/{OWN}", itemNotFound="Image not found."
    ),
    "destroyed twice": failed(
        404, "Item not found", f"DELETE /v2/{PROJECT}/images/{OWN}", itemNotFound="Image not found."
    ),
    "remaining": [pkgcloud_image(fields) for fields in (IMAGES[1], IMAGES[3])],
}


@pytest.mark.parametrize("call", EXPECTED)
def test_pkgcloud_result_is_as_expected(results: Any, call: str) -> None:
    assert results[call] == EXPECTED[call]


def test_all_pkgcloud_results_are_compared(results: Any) -> None:
    assert results.keys() == EXPECTED.keys()
