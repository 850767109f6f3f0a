"""pkgcloud, as npm has it, against the running service."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.integration.server.service import run, serving
from tests.support.images import Fields, catalog_of, image, image_id
from tests.support.npm import modules
from tests.support.packages import Missing

VERSION = "2.2.0"
SCRIPT = Path(__file__).parent / "scripts" / "pkgcloud.cjs"

TENANT, OTHER = "1" * 32, "2" * 32
OWN, FOREIGN = image_id(1), image_id(2)

IMAGES = [
    image(1, name="own", owner=TENANT, created="2021-01-01T00:00:00Z", metadata={"kernel_id": "nokernel"}),
    image(2, owner=OTHER),
    image(3, owner=OTHER, visibility="private"),
    image(4, owner=TENANT, status="SAVING", progress=50, created="2019-01-01T00:00:00Z"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Let pkgcloud list, show, change and destroy, and give what it made of the answers."""
    folder = tmp_path_factory.mktemp("pkgcloud")
    try:
        packages = modules(f"pkgcloud@{VERSION}")
    except Missing as missing:
        pytest.skip(str(missing))
    with serving(folder, IMAGES_CATALOG=str(catalog_of(folder, *IMAGES))) as service:
        url = f"http://127.0.0.1:{service.port}/v2/{TENANT}"
        ended = run("node", str(SCRIPT), url, OWN, FOREIGN, folder=folder, NODE_PATH=str(packages))
    assert ended.returncode == 0, ended.stderr
    return orjson.loads(ended.stdout)


def seen(fields: Fields) -> Fields:
    """Give what pkgcloud keeps of an image."""
    return {name: fields[name] for name in ("id", "name", "status", "progress", "created", "updated")}


def failed(status: int, word: str, request: str, **fault: str) -> Fields:
    """Give the error that pkgcloud makes of a fault: of a status, it has a word of its own."""
    return {
        "provider": "openstack",
        "failCode": word,
        "statusCode": status,
        "message": f"openstack Error ({status}): {word}",
        "request": request,
        "result": {name: {"code": status, "message": message} for name, message in fault.items()},
    }


EXPECTED = {
    "version": VERSION,
    "listed": [seen(fields) for fields in (IMAGES[0], IMAGES[1], IMAGES[3])],
    "shown": seen(IMAGES[0]),
    "metadata": {"metadata": {"kernel_id": "nokernel", "os": "plan9"}},
    "not acceptable": failed(
        400,
        "Bad Request",
        f"POST /v2/{TENANT}/images/{OWN}/metadata",
        badRequest='The body is wrong: metadata: "no/key" does not match "^[A-Za-z0-9_:. -]{1,255}$".',
    ),
    "no project": failed(
        400,
        "Bad Request",
        "GET /v2/nonsense/images/detail",
        badRequest="Parameter 'tenant_id': 'nonsense' is not a UUID, with or without dashes, or the word openstack.",
    ),
    "not its own": failed(
        403,
        "Resize not allowed",
        f"DELETE /v2/{TENANT}/images/{FOREIGN}",
        forbidden=f"Image '{FOREIGN}' does not belong to the project.",
    ),
    "destroyed": {"ok": OWN},
    "gone": failed(404, "Item not found", f"GET /v2/{TENANT}/images/{OWN}", itemNotFound="Image not found."),
    "gone already": failed(404, "Item not found", f"DELETE /v2/{TENANT}/images/{OWN}", itemNotFound="Image not found."),
    "left": [seen(fields) for fields in (IMAGES[1], IMAGES[3])],
}


@pytest.mark.parametrize("call", EXPECTED)
def test_pkgcloud_makes_of_an_answer_what_it_should(answers: Any, call: str) -> None:
    assert answers[call] == EXPECTED[call]


def test_all_that_pkgcloud_was_asked_for_is_looked_at(answers: Any) -> None:
    assert answers.keys() == EXPECTED.keys()
