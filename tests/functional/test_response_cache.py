"""The response cache, and the HTTP that saves work: ETags, 304 and gzip."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson
import pytest
from flask import Response
from starlette.testclient import TestClient

from app.api.operations import Operation, resolve_operation
from app.catalog.documents import load_sample
from app.catalog.engines import open_catalog
from app.catalog.image_parts import PartStore
from app.catalog.transfer import ensure_catalog, import_images
from app.factory import create_app
from app.framework.responses import JSONResponse
from app.middleware.response_cache import ResponseCacheMiddleware
from app.overrides import Overrides
from app.settings import Settings
from tests.conftest import client_of, loaded
from tests.support.catalogs import NewCatalog, remove_catalog, sqlite_only
from tests.support.counting_store import CacheStats, CountingStore
from tests.support.images import Fields, catalog_at, image, stored_images
from tests.support.projects import LIST_URL, PROJECT

PAGE = f"{LIST_URL}?limit=1"
OTHER_LIST = f"/v2/{PROJECT}/images/detail"
DIFFERS_EACH_TIME = {"date", "x-compute-request-id", "x-openstack-request-id"}
UNBOUNDED = 64_000_000  # bytes

GZIP_ACCEPTED = (
    *("gzip", "GZIP", "*", "gzip;q=0.5", "gzip;q=0.001", "br, gzip"),
    *("deflate, gzip;q=1.0, *;q=0", "*;q=0, gzip", "identity, gzip"),
    pytest.param("gzip" + "," * 4000, id="long"),
)
GZIP_NOT_ACCEPTED = (
    *(None, "", "identity", "gzip;q=0", "gzip;q=0.000", "*;q=0", "gzip;q=0, *", "*, gzip;q=0", "br, deflate"),
    *("gzi", "gzip;q=x", "gzip;q=2", "gzip;q=-1", ";;,=", "\xff"),
    pytest.param("gzip" + "," * 5000, id="too long"),
)

Headers = list[tuple[str, str]]

each_encoding = pytest.mark.parametrize("encoding", ["identity", "gzip"])
each_read = pytest.mark.parametrize("method", ["GET", "HEAD"])


class Received(NamedTuple):
    """A response in bytes, without the headers that differ each time."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of a header, which must not be repeated, if there is one."""
        values = [value for each, value in self.headers if each == name]
        assert len(values) < 2
        return values[0] if values else None

    @property
    def etag(self) -> str:
        """The ETag, which must exist."""
        etag = self.header("etag")
        assert etag is not None, self
        return etag

    @property
    def ids(self) -> list[str]:
        """The ids of the images in the body."""
        return [each["id"] for each in orjson.loads(self.body)["images"]]


class Service(NamedTuple):
    """A running application and its response store."""

    client: TestClient
    store: CountingStore

    @property
    def stats(self) -> CacheStats:
        """The statistics of the response store."""
        return self.store.stats()

    def send(
        self, url: str = LIST_URL, headers: dict[str, str] | Headers | None = None, *, method: str = "GET"
    ) -> Received:
        """Send a request with these headers only."""
        return send(self.client, url, headers, method=method)

    def is_hit(self, url: str = LIST_URL, headers: dict[str, str] | None = None) -> bool:
        """Send a request, and return whether the response came from the cache."""
        hits = self.stats.hits
        self.send(url, headers)
        return self.stats.hits == hits + 1


Start = Callable[..., Service]


def send(
    client: TestClient, url: str, headers: dict[str, str] | Headers | None = None, *, method: str = "GET"
) -> Received:
    client.headers.pop("accept-encoding", None)
    pairs = headers.items() if isinstance(headers, dict) else headers or []
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    with client.stream(method, url, headers=encoded) as response:
        body = b"".join(response.iter_raw())
    relevant = [(name, value) for name, value in response.headers.multi_items() if name not in DIFFERS_EACH_TIME]
    return Received(response.status_code, relevant, body)


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(catalog: str, *, max_bytes: int = UNBOUNDED, operation: Operation | None = None) -> Service:
            """Serve a catalog, with an operation in place of listImagesDetails if one is passed."""
            store = CountingStore(max_bytes)
            overrides = Overrides(responses=store, resolve_operation=partial(resolve, operation))
            return Service(stack.enter_context(client_of(catalog, overrides=overrides)), store)

        yield start


def resolve(operation: Operation | None, operation_id: str) -> Operation:
    return operation if operation and operation_id == "listImagesDetails" else resolve_operation(operation_id)


@pytest.fixture
def service(start: Start, sample_catalog: str) -> Service:
    """Serve the documented sample with an empty cache."""
    return start(sample_catalog)


@pytest.fixture
def uncached(sample_catalog: str) -> Iterator[TestClient]:
    """Serve the documented sample without the cache's middleware."""
    app = create_app(Settings(catalog=sample_catalog), loaded())
    stack = app.middleware.middlewares
    app.middleware.middlewares = [each for each in stack if getattr(each, "func", None) is not ResponseCacheMiddleware]
    assert len(app.middleware.middlewares) == len(stack) - 1
    client = app.test_client(base_url="http://compute.test", raise_server_exceptions=False, follow_redirects=False)
    with cast("TestClient", client) as client:
        yield client


def write(catalog: str, *images: Fields, prune: bool = False) -> None:
    """Import images, as another process does."""
    import_images(open_catalog(catalog), stored_images(*images), prune=prune, tombstone_days=30)


# --- ETag ---


@each_encoding
def test_etag_is_strong_and_the_same_in_every_worker(
    service: Service, start: Start, sample_catalog: str, encoding: str
) -> None:
    headers = {"Accept-Encoding": encoding}
    response = service.send(headers=headers)
    assert response.etag[0] == response.etag[-1] == '"'
    assert response.etag.strip('"').replace("-", "").isalnum()
    assert start(sample_catalog).send(headers=headers) == response


def test_equal_bodies_have_the_same_etag(service: Service) -> None:
    assert service.send(f"{LIST_URL}?limit=7").etag == service.send(f"{LIST_URL}?limit=8").etag


def test_different_bodies_and_encodings_have_different_etags(service: Service) -> None:
    urls = [
        LIST_URL,
        f"{LIST_URL}?limit=3",
        OTHER_LIST,
        f"https://compute.test{LIST_URL}",
        f"http://other.test{LIST_URL}",
    ]
    etags = [service.send(url, {"Accept-Encoding": each}).etag for url in urls for each in ("identity", "gzip")]
    assert len(set(etags)) == len(etags)


def test_changed_image_changes_the_etag(start: Start, location: str) -> None:
    catalog = catalog_at(location, image())
    service = start(catalog)
    before = service.send()
    write(catalog, image(progress=99))
    assert service.send().etag != before.etag
    write(catalog, image())
    assert service.send() == before


# --- If-None-Match ---


@pytest.mark.parametrize(
    "if_none_match",
    ["{0}", "W/{0}", '"x", {0}', '{0},"x"', '"a,b" , W/{0}, W/"y"', ',, "x" ,{0}', 'nonsense, {0}, "x', "*"],
)
@each_read
@each_encoding
def test_etag_match_returns_304_without_body(service: Service, if_none_match: str, method: str, encoding: str) -> None:
    accept = {"Accept-Encoding": encoding}
    etag = service.send(headers=accept).etag
    response = service.send(headers=accept | {"If-None-Match": if_none_match.format(etag)}, method=method)
    assert (response.status, response.body) == (304, b"")
    assert sorted(response.headers) == [
        ("cache-control", "private, no-cache"),
        ("etag", etag),
        ("vary", "accept-encoding"),
        ("x-content-type-options", "nosniff"),
    ]


def test_etag_match_returns_304_even_if_nothing_is_stored(start: Start, sample_catalog: str) -> None:
    service = start(sample_catalog, max_bytes=0)
    response = service.send(headers={"If-None-Match": service.send().etag})
    assert (response.status, response.body, service.stats.hits) == (304, b"", 0)


def test_repeated_if_none_match_headers_are_joined(service: Service) -> None:
    etag = service.send().etag
    assert service.send(headers=[("If-None-Match", '"x"'), ("If-None-Match", etag)]).status == 304


def test_each_304_has_its_own_request_id(service: Service) -> None:
    headers = {"If-None-Match": service.send().etag, "Accept-Encoding": "identity"}
    responses = [service.client.get(LIST_URL, headers=headers) for _ in range(2)]
    assert [each.status_code for each in responses] == [304, 304]
    first, second = (each.headers["x-compute-request-id"] for each in responses)
    assert first != second


@pytest.mark.parametrize(
    "if_none_match",
    [
        *(
            "",
            ",",
            '"x"',
            'W/"x"',
            '""',
            '"*"',
            '"*", "x"',
            "W/",
            "nonsense",
            '"',
            '"x',
            "{0}x",
            '"x{0}',
            "\xff",
            "-{0}-",
        ),
        pytest.param("{0}" + "," * 5000, id="too long"),
    ],
)
@each_read
def test_other_etag_returns_the_complete_response(service: Service, if_none_match: str, method: str) -> None:
    expected = service.send(method=method)
    assert service.send(headers={"If-None-Match": if_none_match.format(expected.etag)}, method=method) == expected
    assert expected.status == 200


def test_etag_of_another_encoding_does_not_match(service: Service) -> None:
    etag = service.send().etag
    response = service.send(headers={"If-None-Match": etag, "Accept-Encoding": "gzip"})
    assert (response.status, response.header("content-encoding")) == (200, "gzip")


# --- headers and compression ---


@each_encoding
@pytest.mark.parametrize("url", [LIST_URL, f"{LIST_URL}?name=none"])
def test_responses_are_private_and_have_to_be_revalidated(service: Service, url: str, encoding: str) -> None:
    for _ in range(2):
        response = service.send(url, {"Accept-Encoding": encoding})
        assert response.header("cache-control") == "private, no-cache"
        assert response.header("vary") == "accept-encoding"


@pytest.mark.parametrize("accept_encoding", GZIP_ACCEPTED)
def test_response_is_compressed_if_the_client_accepts_gzip(service: Service, accept_encoding: str) -> None:
    plain, response = service.send(), service.send(headers={"Accept-Encoding": accept_encoding})
    assert response.header("content-encoding") == "gzip"
    assert response.header("content-length") == str(len(response.body))
    assert response.header("content-type") == "application/json"
    assert gzip.decompress(response.body) == plain.body
    assert len(response.body) < len(plain.body)
    assert response.etag != plain.etag


@pytest.mark.parametrize("accept_encoding", GZIP_NOT_ACCEPTED)
def test_response_is_not_compressed_otherwise(service: Service, accept_encoding: str | None) -> None:
    response = service.send(headers={} if accept_encoding is None else {"Accept-Encoding": accept_encoding})
    assert response == service.send(headers={"Accept-Encoding": "identity"})
    assert response.header("content-encoding") is None
    assert response.header("content-length") == str(len(response.body))
    assert len(response.ids) == 7


def test_repeated_accept_encoding_headers_are_joined(service: Service) -> None:
    response = service.send(headers=[("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")])
    assert response.header("content-encoding") == "gzip"


def test_small_response_is_not_compressed(service: Service) -> None:
    url = f"{LIST_URL}?name=none"
    response = service.send(url, {"Accept-Encoding": "gzip"})
    assert response == service.send(url)
    assert response.body == b'{"images":[]}'


@each_encoding
def test_head_has_the_headers_of_get(service: Service, encoding: str) -> None:
    headers = {"Accept-Encoding": encoding}
    head = service.send(headers=headers, method="HEAD")
    assert head == service.send(headers=headers)._replace(body=b"")


def test_cache_adds_only_headers(service: Service, uncached: TestClient) -> None:
    response, expected = service.send(), send(uncached, LIST_URL)
    assert (response.status, response.body) == (expected.status, expected.body)
    assert set(expected.headers) < set(response.headers)


# --- responses that are not stored ---


@each_read
@pytest.mark.parametrize(
    "url", [f"{LIST_URL}?limit=x", f"{LIST_URL}?marker=x", "/nowhere", "//nowhere", f"{LIST_URL}/"]
)
def test_fault_passes_unchanged(service: Service, uncached: TestClient, url: str, method: str) -> None:
    headers = {"Accept-Encoding": "gzip", "If-None-Match": "*", "If-Match": '"x"'}
    url = f"http://compute.test{url}"
    response = service.send(url, headers, method=method)
    assert response == service.send(url, headers, method=method) == send(uncached, url, headers, method=method)
    assert response.status in {400, 404}
    assert not {name for name, _ in response.headers} & {"etag", "cache-control", "content-encoding"}
    assert service.stats.entries == 0


@pytest.mark.parametrize(
    "url", ["/ui", "/ui/", "/ui/swagger-ui.css", "/ui/none", "/openapi.json", "/openapi.yaml", "/openapi.yaml/"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_swagger_ui_passes_unchanged(service: Service, uncached: TestClient, url: str, method: str) -> None:
    headers = {"Accept-Encoding": "gzip"}
    assert service.send(url, headers, method=method) == send(uncached, url, headers, method=method)
    assert service.stats.entries == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_stored_response_is_used_for_reads_only(service: Service, uncached: TestClient, method: str) -> None:
    service.send()
    headers = {"If-None-Match": "*", "Accept-Encoding": "gzip"}
    assert service.send(headers=headers, method=method) == send(uncached, LIST_URL, headers, method=method)
    assert service.stats.hits == 0


def test_internal_error_is_not_stored(start: Start, sample_catalog: str) -> None:
    original, failures = resolve_operation("listImagesDetails"), [RuntimeError()]

    def fail_once(tenant_id: str, **query: Any) -> Response:
        if failures:
            raise failures.pop()
        return original(tenant_id, **query)

    service = start(sample_catalog, operation=fail_once)
    assert [service.send().status for _ in range(3)] == [500, 200, 200]
    assert service.stats[:3] == (1, 1, 1)


def test_fault_that_an_operation_returns_is_not_stored(start: Start, sample_catalog: str) -> None:
    document = {"badRequest": {"code": 400, "message": "It is wrong."}}

    def return_fault(tenant_id: str, **query: Any) -> Response:
        response = JSONResponse(document)
        response.status_code = 400
        return response

    service = start(sample_catalog, operation=return_fault)
    response = service.send()
    assert orjson.loads(response.body) == document
    assert (response.status, response.header("etag"), service.stats.entries) == (400, None, 0)


# --- keys ---


@each_encoding
def test_stored_response_is_byte_for_byte_the_same(service: Service, encoding: str) -> None:
    headers = {"Accept-Encoding": encoding}
    first = service.send(headers=headers)
    assert service.stats[:3] == (0, 1, 1)
    assert [service.send(headers=headers) for _ in range(3)] == [first] * 3
    assert service.stats[:3] == (3, 1, 1)


def test_response_to_head_is_stored_for_get(service: Service, uncached: TestClient) -> None:
    service.send(method="HEAD")
    assert service.send().body == send(uncached, LIST_URL).body
    assert service.stats[:3] == (1, 1, 1)


def test_304_uses_the_stored_response_and_does_not_replace_it(service: Service) -> None:
    etag = service.send().etag
    assert service.send(headers={"If-None-Match": etag}).status == 304
    assert service.send().status == 200
    assert service.stats[:3] == (2, 1, 1)


def test_clients_share_a_response_by_whether_they_accept_gzip(service: Service) -> None:
    service.send()
    assert service.is_hit(headers={"Accept-Encoding": "br"})
    assert not service.is_hit(headers={"Accept-Encoding": "gzip"})
    assert service.is_hit(headers={"Accept-Encoding": "br, gzip;q=0.1"})


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (OTHER_LIST, {}),
        (LIST_URL.replace("openstack", "%6fpenstack"), {}),
        (PAGE, {}),
        (f"{LIST_URL}?", {"Host": "other.test"}),
        (f"https://compute.test{LIST_URL}", {}),
        (LIST_URL, {"Host": "other.test"}),
        (LIST_URL, {"Host": "compute.test:8774"}),
        (LIST_URL, {"Host": "COMPUTE.test"}),
        (LIST_URL, {"Accept-Encoding": "gzip"}),
    ],
)
def test_response_is_not_used_for_another_request(
    service: Service, start: Start, sample_catalog: str, url: str, headers: dict[str, str]
) -> None:
    service.send()
    assert service.send(url, headers) == start(sample_catalog, max_bytes=0).send(url, headers)
    assert service.stats[:3] == (0, 2, 2)


@pytest.mark.parametrize(("valid", "invalid"), [("?name=a", "?name=a&name=b"), ("?limit=1", "?limit=1&x=y")])
def test_invalid_query_does_not_match_a_valid_one(service: Service, valid: str, invalid: str) -> None:
    assert service.send(LIST_URL + valid).status == 200
    assert service.send(LIST_URL + invalid).status == 400


@pytest.mark.parametrize("hosts", [["compute.test", "compute.test"], ["compute.test,"], [""]], ids=str)
def test_invalid_host_does_not_match_a_valid_one(service: Service, hosts: list[str]) -> None:
    service.send()
    assert service.send(headers=[("Host", each) for each in hosts]).status == 400


@each_encoding
def test_without_memory_responses_are_the_same_and_nothing_is_stored(
    service: Service, start: Start, sample_catalog: str, encoding: str
) -> None:
    without, headers = start(sample_catalog, max_bytes=0), {"Accept-Encoding": encoding}
    for url in (LIST_URL, LIST_URL, PAGE, OTHER_LIST, f"{LIST_URL}?limit=x", "/nowhere"):
        assert without.send(url, headers) == service.send(url, headers)
    assert without.stats == (0, 4, 0, 0)  # faults do not count


def test_setting_is_in_megabytes(sample_catalog: str) -> None:
    original, calls = resolve_operation("listImagesDetails"), list[str]()

    @wraps(original)
    def counted(tenant_id: str, **query: Any) -> Response:
        calls.append(tenant_id)
        return original(tenant_id, **query)

    for megabytes, count in ((0, 2), (1, 3)):
        overrides = Overrides(resolve_operation=partial(resolve, counted))
        with client_of(sample_catalog, overrides=overrides, response_cache_mb=megabytes) as client:
            assert [client.get(LIST_URL).status_code for _ in range(2)] == [200, 200]
            assert len(calls) == count


# --- memory ---


def test_least_recently_used_response_is_evicted_first(start: Start, sample_catalog: str) -> None:
    def url(letter: str) -> str:
        return f"{LIST_URL}?name={letter}"

    probe = start(sample_catalog)
    probe.send(url("a"))
    service = start(sample_catalog, max_bytes=3 * probe.stats.bytes)
    assert [service.is_hit(url(letter)) for letter in "abc"] == [False] * 3
    assert service.stats[2:] == (3, 3 * probe.stats.bytes)
    assert service.is_hit(url("a"))
    assert not service.is_hit(url("d"))  # evicts b
    assert service.stats[2:] == (3, 3 * probe.stats.bytes)
    assert [service.is_hit(url(letter)) for letter in "acd"] == [True] * 3
    assert not service.is_hit(url("b"))  # evicts a
    assert not service.is_hit(url("a"))


def test_large_response_evicts_several_small_ones(start: Start, sample_catalog: str) -> None:
    probe = start(sample_catalog)
    probe.send()
    service = start(sample_catalog, max_bytes=probe.stats.bytes * 3 // 2)  # the parts of a list take up to 1/3
    for letter in "abc":
        service.send(f"{LIST_URL}?name={letter}")
    assert service.stats.entries == 3
    service.send()
    assert service.stats[2:] == (1, probe.stats.bytes)
    assert service.is_hit()


def test_response_larger_than_the_bound_is_not_stored(start: Start, sample_catalog: str) -> None:
    probe, small = start(sample_catalog), f"{LIST_URL}?name=none"
    probe.send()
    service = start(sample_catalog, max_bytes=probe.stats.bytes - 1)
    service.send(small)
    assert [service.send() for _ in range(2)] == [probe.send()] * 2
    assert service.stats[:3] == (0, 3, 1)
    assert service.is_hit(small)


def test_bound_is_never_exceeded(start: Start, sample_catalog: str) -> None:
    service = start(sample_catalog, max_bytes=20_000)
    for number in range(200):
        service.send(f"{LIST_URL}?limit={number % 9 + 1}&type=ALL&server={'x' * (number % 50)}")
        service.send(f"{LIST_URL}?limit={number % 9 + 1}&changes-since=2001-01-01T00:00:00.{number}Z")
        service.send(f"{LIST_URL.removesuffix('/detail')}?changes-since=2001-01-01T00:00:00.{number}Z")
        parts = [each.bytes for each in service.store.part_stores]
        assert service.stats.bytes + sum(parts) <= 20_000
    assert min(parts) > 0 < service.stats.entries


@pytest.mark.parametrize(("url", "status"), [(f"{LIST_URL}?limit=1", 200), (f"{LIST_URL}?limit=x", 400)])
def test_stored_responses_are_evicted_if_image_parts_take_the_memory(
    start: Start, sample_catalog: str, url: str, status: int
) -> None:
    service = start(sample_catalog, max_bytes=20_000)
    service.send()
    store = PartStore(lambda images: [b"x" * 30_000] * len(images), 40_000)
    store.at(1).add({1: stored_images(image(1))[0]})
    service.store.part_stores = [store]
    assert service.stats.entries == 1
    assert service.send(url).status == status
    assert service.stats.entries == 0


def test_size_includes_the_body_and_the_key(service: Service) -> None:
    responses = [
        service.send(f"{LIST_URL}?name={'x' * 5000}"),
        service.send(headers={"Accept-Encoding": "gzip"}),
        service.send(),
    ]
    assert service.stats.bytes > sum(len(each.body) for each in responses) + 5000


def test_statistics_count_hits_misses_and_entries(service: Service) -> None:
    etag = service.send().etag
    size = service.stats.bytes
    service.send()
    service.send(headers={"If-None-Match": etag})
    service.send(f"{LIST_URL}?limit=x")
    assert service.stats == CacheStats(hits=2, misses=1, entries=1, bytes=size)
    service.send(PAGE)
    assert service.stats == CacheStats(hits=2, misses=2, entries=2, bytes=service.stats.bytes)
    assert service.stats.bytes > size


# --- invalidation ---


def test_write_invalidates_all_responses(start: Start, location: str) -> None:
    catalog = catalog_at(location, image(1))
    service, urls = start(catalog), [LIST_URL, PAGE, OTHER_LIST]
    for url in urls:
        service.send(url)
    write(catalog, image(2))
    assert [service.is_hit(url) for url in urls] == [False] * 3
    assert service.stats.entries == 3
    assert [service.is_hit(url) for url in urls] == [True] * 3


@pytest.mark.parametrize("prune", [False, True])
def test_import_without_changes_invalidates_nothing(start: Start, location: str, prune: bool) -> None:
    catalog = catalog_at(location, image())
    service = start(catalog)
    service.send()
    write(catalog, image(), prune=prune)
    ensure_catalog(open_catalog(catalog), load_sample, tombstone_days=30)
    assert service.is_hit()


def test_missing_catalog_invalidates_all_responses(start: Start, location: str) -> None:
    service = start(catalog_at(location, image()))
    etag = service.send().etag
    remove_catalog(location)
    for headers in ({}, {"If-None-Match": etag}, {"Accept-Encoding": "gzip"}):
        response = service.send(headers=headers)
        assert (response.status, response.header("etag")) == (503, None)
    assert service.stats == (0, 1, 0, 0)


@sqlite_only
def test_replaced_catalog_file_invalidates_all_responses(start: Start, new_catalog: NewCatalog) -> None:
    catalog, other = (catalog_at(new_catalog(name), image()) for name in ("catalog", "other"))
    service = start(catalog)
    assert service.send().status == 200
    Path(other).replace(catalog)
    assert [service.send().status for _ in range(2)] == [503, 503]
    assert service.stats[2:] == (0, 0)


@sqlite_only
def test_responses_are_not_reused_when_a_missing_catalog_returns(start: Start, location: str) -> None:
    service, catalog = start(catalog_at(location, image())), Path(location)
    before = service.send()
    moved = catalog.rename(catalog.with_name("moved.db"))
    assert service.send().status == 503
    moved.rename(catalog)
    assert not service.is_hit()
    assert service.send() == before
