"""Lists that are joined from parts are equal to lists that are serialized and validated as a whole."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.api.links import LinkBuilder
from app.api.serializers import serialize_image, serialize_image_summary
from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.transfer import ensure_catalog
from app.contract.document import Contract
from tests.conftest import client_of
from tests.properties.histories import HOSTS, OWNERS, REQUESTED_PROJECTS, SCHEMES, Write
from tests.properties.other_process import write
from tests.properties.test_engines import some_images
from tests.support.catalogs import Catalogs, empty_catalog, read_list
from tests.support.images import image_id

CONTRACT = Contract.load(secured=False)
VIEWS = {"": ("listImages", serialize_image_summary), "/detail": ("listImagesDetails", serialize_image)}
GLANCE = "https://glance.test:9292/image"
# Values that resemble placeholders, links and the JSON around parts.
LOOKALIKES = st.sampled_from(["\1", "\2/images", "\\u0001", '],"images_links":[', "http://one.test/v2/openstack", "]"])


class ListRequest(NamedTuple):
    """A request for a list."""

    view: str
    project_id: str
    scheme: str
    host: str
    limit: int | None
    marker: int | None


requests = st.builds(
    ListRequest,
    st.sampled_from(list(VIEWS)),
    st.sampled_from([*REQUESTED_PROJECTS, "a b'%é"]),
    st.sampled_from(SCHEMES),
    st.sampled_from(HOSTS),
    st.sampled_from([None, 1, 2, 3]),
    st.none() | st.integers(1, 4),
)
imports = st.builds(Write, some_images, owner=st.sampled_from(OWNERS), prune=st.booleans())
named = st.builds(lambda images, name: tuple({**each, "name": name} for each in images), some_images, LOOKALIKES)
tagged = st.builds(
    lambda images, value: tuple({**each, "metadata": {"href": value, value: value}} for each in images),
    some_images,
    LOOKALIKES,
)
lookalikes = st.builds(Write, named | tagged, owner=st.none(), prune=st.just(False))


class Service(NamedTuple):
    """A service, and its catalog."""

    location: str
    engine: Engine
    client: TestClient

    def get(self, request: ListRequest) -> tuple[int, bytes]:
        """Return the status and the body of the response."""
        response = self.client.get(f"{request.scheme}://{request.host}{path_of(request)}")
        return response.status_code, response.content


@pytest.fixture(scope="module")
def service(catalogs: Catalogs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with catalogs(tmp_path_factory.mktemp("lists")) as new_catalog:
        location = new_catalog("catalog")
        ensure_catalog(open_catalog(location), list, tombstone_days=30)
        with client_of(location, glance_url=GLANCE) as client:
            yield Service(location, open_catalog(location), client)


def query_of(request: ListRequest) -> dict[str, Any]:
    marker = None if request.marker is None else image_id(request.marker)
    return {name: value for name, value in (("limit", request.limit), ("marker", marker)) if value is not None}


def path_of(request: ListRequest, **other: str) -> str:
    query = query_of(request) | other
    path = f"/v2/{quote(request.project_id)}/images{request.view}"
    return f"{path}?{urlencode(query)}" if query else path


def whole(engine: Engine, request: ListRequest) -> bytes:
    """Return the JSON of the list, serialized and validated as a whole."""
    operation_id, serialize = VIEWS[request.view]
    project, origin = quote(request.project_id), f"{request.scheme}://{request.host}"
    links = LinkBuilder(f"{origin}/v2/{project}", f"{origin}/{project}", f"{GLANCE}/{project}")
    size = request.limit or 1000
    images = read_list(engine, request.project_id, **query_of(request) | {"limit": size + 1})
    document: dict[str, Any] = {"images": [serialize(each, links) for each in images[:size]]}
    if len(images) > size:
        href = origin + path_of(request, marker=images[size - 1].id)
        document["images_links"] = [{"rel": "next", "href": href}]
    CONTRACT.operations[operation_id].validate_response(200, document)
    return orjson.dumps(document)


def test_list_equals_one_that_is_serialized_and_validated_as_a_whole(service: Service) -> None:
    @given(st.lists(st.tuples(imports | lookalikes, st.lists(requests, min_size=2, max_size=6)), max_size=4))
    @settings(max_examples=60, deadline=None, derandomize=True)
    def check(steps: Sequence[tuple[Write, Sequence[ListRequest]]]) -> None:
        empty_catalog(service.location)
        for written, asked in steps:
            write(service.location, written.images, owner=written.owner, prune=written.prune)
            for request in asked:
                status, body = service.get(request)
                if status == 400:  # the project cannot see the marker
                    assert request.marker is not None
                else:
                    assert (status, body) == (200, whole(service.engine, request))

    check()
