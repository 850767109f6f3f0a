"""What attacks share: the service that they go against, which stands after each of them as it stood before."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.catalog import export
from app.catalog.file import reading
from tests.images import catalog_of, image
from tests.server.service import Service, serving
from tests.server.wire import Connection

OWNER = "776a290892b747c4af8cec5d0e9b3a71"

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [A-Z]+ [!-~]+ \d+ \d+ \d+\.\d+ [!-~]+ req-[0-9a-f-]+")


def catalog_path(service: Service) -> Path:
    return service.folder / "data" / "catalog.db"


def contents(service: Service) -> list[object]:
    """Give all that the catalog holds, and what SQLite finds wrong with its file."""
    with closing(reading(catalog_path(service))) as db:
        wrong = db.execute("PRAGMA integrity_check").fetchall()
    return [*wrong, *export(catalog_path(service), deleted=True)]


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service that is attacked: one worker, so that whatever is left in it is found."""
    folder = tmp_path_factory.mktemp("target")
    catalog_of(
        folder / "data",
        image(1, name="everyone's"),
        image(2, name="the sample project's", owner="openstack", visibility="private"),
        image(3, name="the owner's", owner=OWNER, visibility="private"),
    )
    with serving(folder, IMAGES_ACCESS_LOG="plain") as running:
        yield running


@pytest.fixture(autouse=True)
def unharmed(target: Service) -> Iterator[None]:
    """See that an attack changed nothing, was no error of the service, and broke no line of its logs."""
    before = contents(target)
    yield
    assert contents(target) == before
    assert before[0] == ("ok",)
    assert "[ERROR]" not in target.log
    assert [line for line in target.said if not LINE.fullmatch(line)] == []


@pytest.fixture
def connection(target: Service) -> Iterator[Connection]:
    """Connect to the service that is attacked."""
    with Connection(target.port) as connected:
        yield connected
