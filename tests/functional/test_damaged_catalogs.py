"""Damaged catalogs: commands fail with one line, and the service with 503, which its readiness check reports."""

from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner, Result
from sqlite_utils import Database

from app import cli
from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from tests.conftest import Serve
from tests.support.catalogs import add_images
from tests.support.generator import PROJECTS, images
from tests.support.images import catalog_of, file_of, image, image_id

IMAGE = f"/v2/openstack/images/{image_id(1)}"
LIST = "/v2/openstack/images/detail"
READY = "/healthcheck/ready"
READS = (
    *(LIST, f"{LIST}?limit=7", f"/v2/{PROJECTS[0]}/images/detail", "/v2/openstack/images?minRam=512"),
    *(f"{LIST}?{each}" for each in ("name=ubuntu-14.04", "type=snapshot", "changes-since=2012-01-01T00:00:00Z")),
    *(f"{LIST}?marker={image_id(1)}", IMAGE, f"{IMAGE}/metadata"),
)
COMMANDS = (("export", "--deleted"), ("check",), ("token", "list"), ("token", "add", "openstack"), ("export",))


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = catalog_of(tmp_path_factory.mktemp("intact"), *images(150), image(1, created="2000-01-01T00:00:00Z"))
    add_token(open_catalog(path), "openstack", is_admin=False, expires=None)
    return path


def flip(file: bytes, seed: int) -> bytes:
    """Return the file with eight flipped bits, most of them where it has content."""
    random, damaged = Random(seed), bytearray(file)
    for _ in range(8):
        damaged[random.choice((random.randrange(len(file)), random.randrange(100, 2000)))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def run(catalog: Path, *arguments: str) -> Result:
    """Run a command, and require that it reports an error in one line."""
    result = CliRunner(env={"IMAGES_CATALOG": str(catalog)}).invoke(cli.main, arguments, catch_exceptions=False)
    assert arguments == ("check",) or len(result.stderr.splitlines()) == (result.exit_code or arguments[0] == "import")
    return result


@pytest.mark.parametrize("seed", range(25))
def test_flipped_bytes_cause_no_traceback_and_no_internal_error(
    serve: Serve, intact: Path, tmp_path: Path, seed: int
) -> None:
    catalog = tmp_path / "catalog.db"
    catalog.write_bytes(flip(intact.read_bytes(), seed))
    (tmp_path / "images.json").write_bytes(file_of(image(2)))
    if run(catalog, "token", "list").exit_code == 0:
        client, correct = serve(catalog), serve(intact)
        responses = [(client.get(path), correct.get(path)) for path in READS]
        statuses = {response.status_code for response, _ in responses}
        assert 503 not in statuses or client.get(READY).status_code == 503
        put = client.put(f"{IMAGE}/metadata/key", json={"meta": {"key": "value"}})
        assert statuses | {put.status_code} <= {200, 404, 503}
    for command in (*COMMANDS, ("import", str(tmp_path / "images.json"))):
        run(catalog, *command)


@pytest.mark.parametrize(
    ("value", "damaged"),
    [
        (b'{"key":"value"}', b'{"key":"value"x'),
        (b'{"key":"value"}', b'["key","value"]'),
        (b"the name", b"the n\xffme"),
        (b"ACTIVE", b"ACTIWE"),
        (b"2021-01-01T00:00:00Z", b"2021-01-01T00:00:0xZ"),
    ],
)
def test_damaged_value_is_unavailable_and_found_by_check(
    serve: Serve, tmp_path: Path, value: bytes, damaged: bytes
) -> None:
    fields = {"name": "the name", "updated": "2021-01-01T00:00:00Z", "metadata": {"key": "value"}}
    catalog = catalog_of(tmp_path, image(1, **fields))
    catalog.write_bytes(catalog.read_bytes().replace(value, damaged))
    client = serve(catalog)
    assert [client.get(path).status_code for path in (LIST, READY)] == [503, 503]
    result = run(catalog, "check")
    assert (result.exit_code, "What to do: " in result.stdout) == (1, True)


def test_catalog_is_unavailable_until_a_damaged_page_is_repaired(serve: Serve, tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, image(1))
    with closing(Database(catalog)) as db:
        db.execute("""UPDATE images SET metadata = '{"instance_uuid": 5}'""")
    client = serve(catalog)
    assert [client.get(path).status_code for path in (LIST, READY)] == [503, 503]
    add_images(open_catalog(catalog), image(1))
    assert [client.get(path).status_code for path in (READY, LIST)] == [200, 200]


class BrokenURL:
    """A setting that fails like a mistake in the code that uses it."""

    def __format__(self, _spec: str) -> str:
        """Raise TypeError."""
        raise TypeError


def test_mistake_in_the_service_is_no_damage_of_the_catalog(serve: Serve, intact: Path) -> None:
    client = serve(intact, glance_url=BrokenURL())
    assert [client.get(path).status_code for path in (LIST, READY)] == [500, 200]
