"""What these tests share: running services, projects in one of them, and the clients that ask them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from app.catalog.transfer import import_images
from app.resources import resource_path
from tests.integration.clients.processes import Client, running
from tests.integration.server.service import Service, serving
from tests.support.images import Fields, catalog_of, image, image_id, records_of
from tests.support.packages import Missing

OURS, FOREIGN = image_id(1), image_id(2)
SERVER = "2f1d4f0a-43f8-4b7c-9a3c-1f6f2f9a7f44"

_NUMBERS = count(1000)


class Endpoint(NamedTuple):
    """Where a project's images are found."""

    origin: str
    tenant: str = "openstack"

    @property
    def url(self) -> str:
        """What clients are pointed at."""
        return f"{self.origin}/v2/{self.tenant}"

    def links(self, path: str) -> list[Fields]:
        """Link to something in the Compute API."""
        return [
            {"rel": "self", "href": f"{self.url}/{path}"},
            {"rel": "bookmark", "href": f"{self.origin}/{self.tenant}/{path}"},
        ]

    def document(self, fields: Fields) -> Fields:
        """Give what the API says of an image."""
        path = f"images/{fields['id']}"
        glance = {"href": f"{self.origin}/{self.tenant}/{path}", "type": "application/vnd.openstack.image"}
        document = fields | {"links": [*self.links(path), {"rel": "alternate"} | glance]}
        server = fields["metadata"].get("instance_uuid")
        return document | ({"server": {"id": server, "links": self.links(f"servers/{server}")}} if server else {})


class Project:
    """A project whose images nobody else sees."""

    def __init__(self, service: Service, catalog: Path) -> None:
        self._endpoint = Endpoint(_origin(service), f"{next(_NUMBERS):032}")
        self._catalog = catalog
        self.url = self._endpoint.url

    def add(self, **fields: object) -> Fields:
        """Give the project an image, and what the API says of it."""
        added = image(next(_NUMBERS), **fields)
        import_images(self._catalog, records_of(added | {"owner": self._endpoint.tenant, "visibility": "private"}))
        return self._endpoint.document(added)


class Listing(NamedTuple):
    """Images that no test changes: where they are, and what the API says of them."""

    url: str
    images: list[Fields]


@pytest.fixture(scope="session")
def sample(sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listing]:
    """Serve the documented sample."""
    with serving(tmp_path_factory.mktemp("sample"), IMAGES_CATALOG=str(sample_catalog)) as service:
        yield _documented(service)


@pytest.fixture(scope="session")
def small_pages(sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listing]:
    """Serve the documented sample on pages of at most three images."""
    folder = tmp_path_factory.mktemp("pages")
    with serving(folder, IMAGES_CATALOG=str(sample_catalog), IMAGES_MAX_LIMIT="3") as service:
        yield _documented(service)


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a catalog to add images to, with one of the project `openstack`, and one that it sees and does not own."""
    return catalog_of(
        tmp_path_factory.mktemp("changing"),
        image(1, owner="openstack", visibility="private"),
        image(2, owner="0" * 32, visibility="community"),
    )


@pytest.fixture(scope="session")
def service(catalog: Path) -> Iterator[Service]:
    """Serve that catalog with two workers."""
    with serving(catalog.parent, workers=2, IMAGES_CATALOG=str(catalog)) as running:
        yield running


@pytest.fixture
def project(service: Service, catalog: Path) -> Project:
    """Give a project of its own to a test."""
    return Project(service, catalog)


@pytest.fixture(scope="session")
def openstack(service: Service) -> str:
    """Give where the project `openstack` is served, which owns one image, and sees another."""
    return Endpoint(_origin(service)).url


@pytest.fixture(scope="session")
def kinds(service: Service, catalog: Path) -> Listing:
    """Give a project images of all kinds."""
    project = Project(service, catalog)
    made_from_a_server = {"instance_uuid": SERVER, "image_type": "snapshot", "sync_status_reason": "ERROR:\n<timeout>"}
    images = [
        project.add(
            name="snapshot",
            updated="2021-01-01T00:00:00Z",
            minRam=512,
            minDisk=20,
            metadata=made_from_a_server,
            **{"OS-EXT-IMG-SIZE:size": 2**53 - 1},
        ),
        project.add(metadata={"ramdisk_id": None, "schlüssel, of any length" * 20: ""}),
        project.add(name="saving", status="SAVING", progress=25),
        project.add(name="error", status="ERROR", progress=0),
        project.add(name="unknown", status="UNKNOWN", progress=0),
    ]
    return Listing(project.url, images)


@pytest.fixture(params=["sample", "kinds"])
def listing(request: pytest.FixtureRequest) -> Listing:
    """Give the documented sample, and then images of all kinds."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Client | Missing]]:
    """Give a function that runs a client, each of them once."""
    with ExitStack() as clients:

        @cache
        def start(name: str) -> Client | Missing:
            try:
                return clients.enter_context(running(name, tmp_path_factory.mktemp(name)))
            except Missing as missing:
                return missing

        yield start


@pytest.fixture
def client(request: pytest.FixtureRequest, start: Callable[[str], Client | Missing]) -> Client:
    """Give the client that a test is for."""
    client = start(request.param)
    if isinstance(client, Missing):
        pytest.skip(str(client))
    return client


def _origin(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"


def _documented(service: Service) -> Listing:
    document = orjson.loads(resource_path("data/list-images-details.json").read_bytes())
    endpoint = Endpoint(_origin(service))
    fields = [{name: value for name, value in image.items() if name != "links"} for image in document["images"]]
    return Listing(endpoint.url, [endpoint.document(image) for image in fields])
