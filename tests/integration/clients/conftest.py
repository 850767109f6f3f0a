"""Shared fixtures: running services, projects with images, and the clients."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from itertools import count
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from app.catalog.engines import open_catalog
from app.catalog.transfer import import_images
from app.resources import resource_path
from tests.integration.clients.processes import Client, running
from tests.integration.server.service import Service, serving
from tests.support.images import Fields, catalog_of, image, image_id, stored_images
from tests.support.packages import Missing

OWN, FOREIGN = image_id(1), image_id(2)
SERVER = "2f1d4f0a-43f8-4b7c-9a3c-1f6f2f9a7f44"

_NUMBERS = count(1000)


class Endpoint(NamedTuple):
    """The URLs of a project."""

    origin: str
    project_id: str = "openstack"

    @property
    def url(self) -> str:
        """The URL with which clients are configured."""
        return f"{self.origin}/v2/{self.project_id}"

    def links(self, path: str) -> list[Fields]:
        """Return the links to a resource of the Compute API."""
        return [
            {"rel": "self", "href": f"{self.url}/{path}"},
            {"rel": "bookmark", "href": f"{self.origin}/{self.project_id}/{path}"},
        ]

    def document(self, fields: Fields) -> Fields:
        """Return the API's representation of an image."""
        path = f"images/{fields['id']}"
        glance = {"href": f"{self.origin}/{self.project_id}/{path}", "type": "application/vnd.openstack.image"}
        document = fields | {"links": [*self.links(path), {"rel": "alternate"} | glance]}
        server = fields["metadata"].get("instance_uuid")
        return document | ({"server": {"id": server, "links": self.links(f"servers/{server}")}} if server else {})


class Project:
    """A project with private images."""

    def __init__(self, service: Service, catalog: Path) -> None:
        self._endpoint = Endpoint(service.url, f"{next(_NUMBERS):032}")
        self._catalog = catalog
        self.url = self._endpoint.url

    def add(self, **fields: object) -> Fields:
        """Add an image to the project and return the API's representation of it."""
        added = image(next(_NUMBERS), **fields)
        private = added | {"owner": self._endpoint.project_id, "visibility": "private"}
        import_images(open_catalog(self._catalog), stored_images(private), tombstone_days=30)
        return self._endpoint.document(added)


class Listing(NamedTuple):
    """Images that no test changes: the URL of their project, and their representations."""

    url: str
    images: list[Fields]


@pytest.fixture(scope="session")
def sample(sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listing]:
    with serving(tmp_path_factory.mktemp("sample"), IMAGES_CATALOG=str(sample_catalog)) as service:
        yield _documented(service)


@pytest.fixture(scope="session")
def small_pages(sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listing]:
    folder = tmp_path_factory.mktemp("pages")
    with serving(folder, IMAGES_CATALOG=str(sample_catalog), IMAGES_MAX_LIMIT="3") as service:
        yield _documented(service)


@pytest.fixture(scope="session", params=["reject", "ignore"])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listing]:
    """Serve more images than a page can have, with each value of IMAGES_UNKNOWN_PARAMETERS."""
    images = [image(number) for number in range(1006)]
    catalog = catalog_of(tmp_path_factory.mktemp("many"), *images)
    with serving(catalog.parent, IMAGES_CATALOG=str(catalog), IMAGES_UNKNOWN_PARAMETERS=request.param) as service:
        yield Listing(Endpoint(service.url).url, images)


@pytest.fixture(scope="session")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a catalog with an image of the project `openstack`, and a community image of another project."""
    return catalog_of(
        tmp_path_factory.mktemp("changing"),
        image(1, owner="openstack", visibility="private"),
        image(2, owner="0" * 32, visibility="community"),
    )


@pytest.fixture(scope="session")
def service(catalog: Path) -> Iterator[Service]:
    with serving(catalog.parent, workers=2, IMAGES_CATALOG=str(catalog)) as running:
        yield running


@pytest.fixture
def project(service: Service, catalog: Path) -> Project:
    return Project(service, catalog)


@pytest.fixture(scope="session")
def openstack(service: Service) -> str:
    """Return the URL of the project `openstack`, which owns one image and can see another."""
    return Endpoint(service.url).url


@pytest.fixture(scope="session")
def various_images(service: Service, catalog: Path) -> Listing:
    project = Project(service, catalog)
    snapshot_metadata = {"instance_uuid": SERVER, "image_type": "snapshot", "sync_status_reason": "ERROR:\n<timeout>"}
    images = [
        project.add(
            name="snapshot",
            updated="2021-01-01T00:00:00Z",
            minRam=512,
            minDisk=20,
            metadata=snapshot_metadata,
            **{"OS-EXT-IMG-SIZE:size": 2**53 - 1},
        ),
        project.add(metadata={"ramdisk_id": None, "schlüssel, of any length" * 20: ""}),
        project.add(name="saving", status="SAVING", progress=25),
        project.add(name="error", status="ERROR", progress=0),
        project.add(name="unknown", status="UNKNOWN", progress=0),
    ]
    return Listing(project.url, images)


@pytest.fixture(params=["sample", "various_images"])
def listing(request: pytest.FixtureRequest) -> Listing:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Client | Missing]]:
    """Return a function that starts a client, each one once."""
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
    client = start(request.param)
    if isinstance(client, Missing):
        pytest.skip(str(client))
    return client


def _documented(service: Service) -> Listing:
    document = orjson.loads(resource_path("data/list-images-details.json").read_bytes())
    endpoint = Endpoint(service.url)
    fields = [{name: value for name, value in image.items() if name != "links"} for image in document["images"]]
    return Listing(endpoint.url, [endpoint.document(image) for image in fields])
