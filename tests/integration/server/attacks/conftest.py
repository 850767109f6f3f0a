"""What attacks share: the service that they go against, which stands after each of them as it stood before."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.catalog.models import StoredImage
from app.catalog.sqlite.database import open_reader
from app.catalog.transfer import export_images
from tests.integration.server.service import Service, serving
from tests.integration.server.wire import Connection
from tests.support.images import catalog_of, image

OWNER = "776a290892b747c4af8cec5d0e9b3a71"

EXAMPLE = "70a599e0-31e7-49b7-b260-868f441e862b"  # the contract's

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ [!-~]+ \d+ \d+ \d+\.\d+ [!-~]+ req-[0-9a-f-]+")


def catalog_path(service: Service) -> Path:
    return service.folder / "data" / "catalog.db"


def contents(service: Service) -> list[StoredImage]:
    """Give all that the catalog holds."""
    return list(export_images(catalog_path(service), deleted=True))


def assert_sound(service: Service) -> None:
    """See that a service is whole after what it went through: its file, its own log, and the lines of requests."""
    with closing(open_reader(catalog_path(service))) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert "[ERROR]" not in service.log
    assert [line for line in service.said if not LINE.fullmatch(line)] == []


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service that is attacked: one worker, so that whatever is left in it is found."""
    folder = tmp_path_factory.mktemp("target")
    catalog_of(
        folder / "data",
        image(1, name="everyone's"),
        image(2, name="the sample project's", owner="openstack", visibility="private"),
        image(3, name="the owner's", owner=OWNER, visibility="private"),
        image(id=EXAMPLE, metadata={"kernel_id": "nokernel"}),
    )
    with serving(folder, IMAGES_ACCESS_LOG="plain") as running:
        yield running


@pytest.fixture(scope="package")
def untouched(target: Service) -> list[StoredImage]:
    """Look at the catalog before it is attacked."""
    return contents(target)


@pytest.fixture(autouse=True)
def unharmed(target: Service, untouched: list[StoredImage]) -> Iterator[None]:
    """See that an attack changed nothing, was no error of the service, and broke no line of its logs."""
    yield
    assert contents(target) == untouched
    assert_sound(target)


@pytest.fixture
def connection(target: Service) -> Iterator[Connection]:
    """Connect to the service that is attacked."""
    with Connection(target.port) as connected:
        yield connected
