"""Shared fixtures: a service under attack, which has to be unchanged after each test."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.catalog.engines import open_catalog
from app.catalog.models import StoredImage
from app.catalog.sqlite.database import open_reader
from app.catalog.transfer import export_images
from tests.integration.server.service import Service, serving
from tests.integration.server.wire import Connection
from tests.support.images import catalog_of, image

OWNER = "776a290892b747c4af8cec5d0e9b3a71"

EXAMPLE = "70a599e0-31e7-49b7-b260-868f441e862b"  # the image id in the contract's examples

ADDRESS = "[0-9a-f.:]+"
ACCESS_LINE = re.compile(
    r"\S+Z INFO app\.access req-[0-9a-f-]+ (req-[0-9a-f-]{36} )?[A-Z]+ [!-~]+ \d+ \d+ \d+\.\d+ [!-~]+ "
    rf"{ADDRESS} (-|{ADDRESS})"
)


def catalog_path(service: Service) -> Path:
    return service.folder / "data" / "catalog.db"


def contents(service: Service) -> list[StoredImage]:
    return list(export_images(open_catalog(catalog_path(service)), deleted=True))


def assert_sound(service: Service) -> None:
    """Check the integrity of the database, and that the log has no errors and no malformed lines."""
    with closing(open_reader(catalog_path(service))) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert service.errors == []
    assert service.printed == []
    access = [line for line in service.log_lines if "app.access" in line]
    assert [line for line in access if not ACCESS_LINE.fullmatch(line)] == []


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the attacked service with one worker, so that state left behind by a request affects later ones."""
    folder = tmp_path_factory.mktemp("target")
    catalog_of(
        folder / "data",
        image(1, name="everyone's"),
        image(2, name="of the sample project", owner="openstack", visibility="private"),
        image(3, name="the owner's", owner=OWNER, visibility="private"),
        image(id=EXAMPLE, metadata={"kernel_id": "nokernel"}),
    )
    with serving(folder, IMAGES_ACCESS_LOG="on") as running:
        yield running


@pytest.fixture(scope="package")
def untouched(target: Service) -> list[StoredImage]:
    return contents(target)


@pytest.fixture(autouse=True)
def unharmed(target: Service, untouched: list[StoredImage]) -> Iterator[None]:
    """Check after each test that nothing was changed and no error was logged."""
    yield
    assert contents(target) == untouched
    assert_sound(target)


@pytest.fixture
def connection(target: Service) -> Iterator[Connection]:
    with Connection(target.port) as connected:
        yield connected
