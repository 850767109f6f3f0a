"""Kept answers, and the HTTP that saves work: what a client is told, and when it is told so again."""

import gzip
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from flask import Response
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import factory
from app.api import images
from app.catalog.documents import load_sample
from app.catalog.transfer import ensure_catalog, import_images
from app.contract.document import Contract
from app.framework.responses import JSONResponse
from app.middleware.response_cache import CacheStats, ResponseCache
from tests.conftest import client_of
from tests.support.images import catalog_of, image, image_id, records_of

LIST = "/v2/openstack/images/detail"
ONE = f"{LIST}?limit=1"
OTHER_TENANT = "/v2/776a290892b747c4af8cec5d0e9b3a71/images/detail"
CHANGES_EACH_TIME = {"date", "x-compute-request-id", "x-openstack-request-id"}

GZIP_IS_TAKEN = [
    "gzip",
    "GZIP",
    "*",
    "gzip;q=0.5",
    "gzip;q=0.001",
    "br, gzip",
    "deflate, gzip;q=1.0, *;q=0",
    "*;q=0, gzip",
    "identity, gzip",
]
GZIP_IS_NOT_TAKEN = [
    None,
    "",
    "identity",
    "gzip;q=0",
    "gzip;q=0.000",
    "*;q=0",
    "gzip;q=0, *",
    "*, gzip;q=0",
    "br, deflate",
    "gzi",
    "gzip;q=x",
    "gzip;q=2",
    "gzip;q=-1",
    ";;,=",
    "\xff",
]

CONTRACT = Contract.load(secured=False)

Headers = list[tuple[str, str]]


class Told(NamedTuple):
    """What a client is told, to the byte; but for what is new in every answer."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """Give the value of a header that comes once, if it comes."""
        values = [value for each, value in self.headers if each == name]
        assert len(values) < 2
        return values[0] if values else None

    @property
    def etag(self) -> str:
        """Give the ETag that has to be there."""
        etag = self.header("etag")
        assert etag is not None, self
        return etag

    @property
    def ids(self) -> list[str]:
        """Give the images that it tells of."""
        return [each["id"] for each in orjson.loads(self.body)["images"]]


class Service(NamedTuple):
    """An application that runs, and in sight what it keeps."""

    client: TestClient
    answers: ResponseCache

    @property
    def statistics(self) -> CacheStats:
        """Give what keeping answers did so far."""
        return self.answers.statistics

    def ask(self, url: str = LIST, headers: dict[str, str] | Headers | None = None, *, method: str = "GET") -> Told:
        """Ask as a client does that says nothing but what is given, and that decodes nothing."""
        return ask(self.client, url, headers, method=method)

    def is_hit(self, url: str = LIST, headers: dict[str, str] | None = None) -> bool:
        """Ask, and tell whether the answer was one that was kept."""
        hits = self.statistics.hits
        self.ask(url, headers)
        return self.statistics.hits == hits + 1


Keep = Callable[..., Service]


def ask(client: TestClient, url: str, headers: dict[str, str] | Headers | None = None, *, method: str = "GET") -> Told:
    client.headers.pop("accept-encoding", None)
    pairs = headers.items() if isinstance(headers, dict) else headers or []
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    with client.stream(method, url, headers=encoded) as answer:
        body = b"".join(answer.iter_raw())
    told = [(name, value) for name, value in answer.headers.multi_items() if name not in CHANGES_EACH_TIME]
    return Told(answer.status_code, told, body)


@contextmanager
def running(
    monkeypatch: pytest.MonkeyPatch, catalog: Path, *, bound: int | None = None, **settings: Any
) -> Iterator[Service]:
    """Serve a catalog; `bound` is in bytes, where the setting's megabytes are too coarse."""
    built: list[ResponseCache] = []

    def build(next_app: ASGIApp, **options: Any) -> ResponseCache:
        built.append(ResponseCache(next_app, **(options if bound is None else options | {"bound": bound})))
        return built[-1]

    monkeypatch.setattr(factory, "ResponseCache", build)
    with client_of(catalog, CONTRACT, **settings) as client:
        yield Service(client, built[-1])


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keep]:
    """Give a function that serves a catalog, until the test ends."""
    opened: list[Any] = []

    def start(*args: Any, **options: Any) -> Service:
        context = running(monkeypatch, *args, **options)
        opened.append(context)
        return context.__enter__()

    yield start
    for context in reversed(opened):
        context.__exit__(None, None, None)


@pytest.fixture
def service(keep: Keep, sample_catalog: Path) -> Service:
    """Serve the documented sample, with nothing kept yet."""
    return keep(sample_catalog)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, sample_catalog: Path) -> Iterator[TestClient]:
    """Serve the documented sample with nothing in front of the application, which is told that it is fresh."""

    def nothing(next_app: ASGIApp, **_: Any) -> ASGIApp:
        async def fresh(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("state", {})["fresh"] = True
            await next_app(scope, receive, send)

        return fresh

    with monkeypatch.context() as patched:
        patched.setattr(factory, "ResponseCache", nothing)
        with client_of(sample_catalog, CONTRACT) as client:
            yield client


# --- ETag ---


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_has_a_strong_etag(service: Service, encoding: str) -> None:
    etag = service.ask(headers={"Accept-Encoding": encoding}).etag
    assert etag[0] == etag[-1] == '"'
    assert etag.strip('"').replace("-", "").isalnum()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_another_worker_gives_the_same_answer_the_same_etag(
    service: Service, keep: Keep, sample_catalog: Path, encoding: str
) -> None:
    headers = {"Accept-Encoding": encoding}
    assert keep(sample_catalog).ask(headers=headers) == service.ask(headers=headers)


def test_an_answer_keeps_its_etag_when_it_is_made_again(service: Service) -> None:
    assert service.ask(f"{LIST}?limit=7").etag == service.ask(f"{LIST}?limit=8").etag


def test_no_two_answers_or_encodings_share_an_etag(service: Service) -> None:
    urls = [LIST, f"{LIST}?limit=3", OTHER_TENANT, f"https://compute.test{LIST}", f"http://other.test{LIST}"]
    etags = [service.ask(url, {"Accept-Encoding": each}).etag for url in urls for each in ("identity", "gzip")]
    assert len(set(etags)) == len(etags)


def test_a_changed_image_changes_the_etag(keep: Keep, tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, image())
    service = keep(catalog)
    before = service.ask()
    import_images(catalog, records_of(image(progress=99)))
    assert service.ask().etag != before.etag
    import_images(catalog, records_of(image()))
    assert service.ask() == before


# --- If-None-Match ---


@pytest.mark.parametrize(
    "known",
    [
        "{0}",
        "W/{0}",
        '"x", {0}',
        '{0},"x"',
        '"a,b" , W/{0}, W/"y"',
        ',, "x" ,{0}',
        'nonsense, {0}, "x',
        "*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_who_has_the_answer_is_told_so_and_no_more(service: Service, known: str, method: str, encoding: str) -> None:
    accept = {"Accept-Encoding": encoding}
    etag = service.ask(headers=accept).etag
    told = service.ask(headers=accept | {"If-None-Match": known.format(etag)}, method=method)
    assert (told.status, told.body) == (304, b"")
    assert sorted(told.headers) == [
        ("cache-control", "private, no-cache"),
        ("etag", etag),
        ("vary", "accept-encoding"),
    ]


def test_who_has_the_answer_is_told_so_though_it_is_not_kept(keep: Keep, sample_catalog: Path) -> None:
    service = keep(sample_catalog, answers_mb=0)
    told = service.ask(headers={"If-None-Match": service.ask().etag})
    assert (told.status, told.body, service.statistics.hits) == (304, b"", 0)


def test_etags_may_stand_in_several_headers(service: Service) -> None:
    etag = service.ask().etag
    assert service.ask(headers=[("If-None-Match", '"x"'), ("If-None-Match", etag)]).status == 304


def test_a_304_has_a_request_id_of_its_own(service: Service) -> None:
    headers = {"If-None-Match": service.ask().etag}
    answers = [service.client.get(LIST, headers=headers | {"Accept-Encoding": "identity"}) for _ in range(2)]
    assert [each.status_code for each in answers] == [304, 304]
    first, second = (each.headers["x-compute-request-id"] for each in answers)
    assert first != second


@pytest.mark.parametrize(
    "known",
    ["", ",", '"x"', 'W/"x"', '""', '"*"', '"*", "x"', "W/", "nonsense", '"', '"x', "{0}x", '"x{0}', "\xff", "-{0}-"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_something_else_is_told_all(service: Service, known: str, method: str) -> None:
    expected = service.ask(method=method)
    assert service.ask(headers={"If-None-Match": known.format(expected.etag)}, method=method) == expected
    assert expected.status == 200


def test_an_etag_does_not_stand_for_the_answer_in_another_encoding(service: Service) -> None:
    etag = service.ask().etag
    told = service.ask(headers={"If-None-Match": etag, "Accept-Encoding": "gzip"})
    assert (told.status, told.header("content-encoding")) == (200, "gzip")


def test_an_etag_does_not_stand_for_what_the_answer_became(keep: Keep, tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, image(1))
    service = keep(catalog)
    etag = service.ask().etag
    import_images(catalog, records_of(image(2)))
    told = service.ask(headers={"If-None-Match": etag})
    assert (told.status, told.ids) == (200, [image_id(1), image_id(2)])


# --- Headers, and compression ---


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("url", [LIST, f"{LIST}?name=none"])
def test_nobody_may_use_an_answer_for_another_or_without_asking(service: Service, url: str, encoding: str) -> None:
    for _ in range(2):
        told = service.ask(url, {"Accept-Encoding": encoding})
        assert told.header("cache-control") == "private, no-cache"
        assert told.header("vary") == "accept-encoding"


@pytest.mark.parametrize("accepted", GZIP_IS_TAKEN)
def test_an_answer_is_compressed_for_who_takes_it(service: Service, accepted: str) -> None:
    plain, told = service.ask(), service.ask(headers={"Accept-Encoding": accepted})
    assert told.header("content-encoding") == "gzip"
    assert told.header("content-length") == str(len(told.body))
    assert told.header("content-type") == "application/json"
    assert gzip.decompress(told.body) == plain.body
    assert len(told.body) < len(plain.body)
    assert told.etag != plain.etag


@pytest.mark.parametrize("accepted", GZIP_IS_NOT_TAKEN)
def test_an_answer_is_not_compressed_for_who_does_not_take_it(service: Service, accepted: str | None) -> None:
    told = service.ask(headers={} if accepted is None else {"Accept-Encoding": accepted})
    assert told == service.ask(headers={"Accept-Encoding": "identity"})
    assert told.header("content-encoding") is None
    assert told.header("content-length") == str(len(told.body))
    assert len(told.ids) == 7


def test_encodings_may_stand_in_several_headers(service: Service) -> None:
    told = service.ask(headers=[("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")])
    assert told.header("content-encoding") == "gzip"


def test_a_small_answer_is_not_compressed(service: Service) -> None:
    url = f"{LIST}?name=none"
    told = service.ask(url, {"Accept-Encoding": "gzip"})
    assert told == service.ask(url)
    assert told.body == b'{"images":[]}'


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_head_is_told_what_get_is_but_for_the_body(service: Service, encoding: str) -> None:
    headers = {"Accept-Encoding": encoding}
    head = service.ask(headers=headers, method="HEAD")
    assert head == service.ask(headers=headers)._replace(body=b"")


def test_an_answer_is_what_the_application_says(service: Service, plain: TestClient) -> None:
    told, said = service.ask(), ask(plain, LIST)
    assert (told.status, told.body) == (said.status, said.body)
    assert set(said.headers) < set(told.headers)


# --- What is no answer of an operation ---


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("url", [f"{LIST}?limit=x", f"{LIST}?marker=x", "/nowhere", "//nowhere", f"{LIST}/"])
def test_a_fault_is_as_the_application_says_it(service: Service, plain: TestClient, url: str, method: str) -> None:
    headers = {"Accept-Encoding": "gzip", "If-None-Match": "*", "If-Match": '"x"'}
    address = f"http://compute.test{url}"
    told = service.ask(address, headers, method=method)
    assert told == service.ask(address, headers, method=method) == ask(plain, address, headers, method=method)
    assert told.status in {400, 404}
    assert not {name for name, _ in told.headers} & {"etag", "cache-control", "content-encoding"}
    assert service.statistics.entries == 0


@pytest.mark.parametrize(
    "url", ["/ui", "/ui/", "/ui/swagger-ui.css", "/ui/none", "/openapi.json", "/openapi.yaml", "/openapi.yaml/"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_document_and_its_ui_are_as_they_were(service: Service, plain: TestClient, url: str, method: str) -> None:
    headers = {"Accept-Encoding": "gzip"}
    told = service.ask(url, headers, method=method)
    assert told == ask(plain, url, headers, method=method)
    assert service.statistics.entries == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_reads_are_answered_with_what_is_kept(service: Service, plain: TestClient, method: str) -> None:
    service.ask()
    headers = {"If-None-Match": "*", "Accept-Encoding": "gzip"}
    assert service.ask(headers=headers, method=method) == ask(plain, LIST, headers, method=method)
    assert service.statistics.hits == 0


def test_a_fault_of_our_own_is_not_kept(keep: Keep, sample_catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operation, broken = images.list_images_details, [True]

    def breaking(tenant_id: str, **query: Any) -> Response:
        if broken:
            raise RuntimeError(broken.pop())
        return operation(tenant_id, **query)

    monkeypatch.setattr(images, "list_images_details", breaking)
    service = keep(sample_catalog)
    assert [service.ask().status for _ in range(3)] == [500, 200, 200]
    assert service.statistics[:3] == (1, 1, 1)


def test_a_fault_that_an_operation_answers_with_is_one(
    keep: Keep, sample_catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"badRequest": {"code": 400, "message": "It is wrong."}}

    def wrong(tenant_id: str, **query: Any) -> Response:
        answer = JSONResponse(document)
        answer.status_code = 400
        return answer

    monkeypatch.setattr(images, "list_images_details", wrong)
    service = keep(sample_catalog)
    told = service.ask()
    assert orjson.loads(told.body) == document
    assert (told.status, told.header("etag"), service.statistics.entries) == (400, None, 0)


def test_a_marker_that_was_unknown_is_found_when_it_is_there(keep: Keep, tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, image(1))
    service, url = keep(catalog), f"{LIST}?marker={image_id(2)}"
    assert service.ask(url).status == 400
    import_images(catalog, records_of(image(2)))
    assert service.ask(url).status == 200


# --- What is kept, and for whom ---


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_is_kept_and_the_same_to_the_byte(service: Service, encoding: str) -> None:
    headers = {"Accept-Encoding": encoding}
    first = service.ask(headers=headers)
    assert service.statistics[:3] == (0, 1, 1)
    assert [service.ask(headers=headers) for _ in range(3)] == [first] * 3
    assert service.statistics[:3] == (3, 1, 1)


def test_an_answer_to_head_is_kept_for_get(service: Service, plain: TestClient) -> None:
    service.ask(method="HEAD")
    assert service.ask().body == ask(plain, LIST).body
    assert service.statistics[:3] == (1, 1, 1)


def test_an_answer_is_kept_though_a_304_was_told(service: Service) -> None:
    etag = service.ask().etag
    assert service.ask(headers={"If-None-Match": etag}).status == 304
    assert service.ask().status == 200
    assert service.statistics[:3] == (2, 1, 1)


def test_all_who_take_no_gzip_share_an_answer(service: Service) -> None:
    service.ask()
    assert service.is_hit(headers={"Accept-Encoding": "br"})
    assert not service.is_hit(headers={"Accept-Encoding": "gzip"})
    assert service.is_hit(headers={"Accept-Encoding": "br, gzip;q=0.1"})


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (OTHER_TENANT, {}),
        (LIST.replace("openstack", "%6fpenstack"), {}),
        (ONE, {}),
        (f"{LIST}?", {"Host": "other.test"}),
        (f"https://compute.test{LIST}", {}),
        (LIST, {"Host": "other.test"}),
        (LIST, {"Host": "compute.test:8774"}),
        (LIST, {"Host": "COMPUTE.test"}),
        (LIST, {"Accept-Encoding": "gzip"}),
    ],
)
def test_no_request_is_told_what_was_kept_for_another(
    service: Service, keep: Keep, sample_catalog: Path, url: str, headers: dict[str, str]
) -> None:
    service.ask()
    assert service.ask(url, headers) == keep(sample_catalog, answers_mb=0).ask(url, headers)
    assert service.statistics[:3] == (0, 2, 2)


@pytest.mark.parametrize(("kept", "asked"), [("?name=a", "?name=a&name=a"), ("?limit=1", "?limit=1&x=y")])
def test_a_bad_query_is_not_told_what_was_kept_for_a_good_one(service: Service, kept: str, asked: str) -> None:
    assert service.ask(LIST + kept).status == 200
    assert service.ask(LIST + asked).status == 400


def test_a_host_that_no_link_can_begin_with_is_not_told_what_was_kept(service: Service) -> None:
    service.ask()
    assert service.ask(headers=[("Host", "compute.test"), ("Host", "compute.test")]).status == 400
    assert service.ask(headers={"Host": "compute.test,"}).status == 400
    assert service.ask(headers={"Host": ""}).status == 400


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_without_memory_nothing_is_kept_and_all_is_the_same(
    service: Service, keep: Keep, sample_catalog: Path, encoding: str
) -> None:
    without, headers = keep(sample_catalog, answers_mb=0), {"Accept-Encoding": encoding}
    for url in (LIST, LIST, ONE, OTHER_TENANT, f"{LIST}?limit=x", "/nowhere"):
        assert without.ask(url, headers) == service.ask(url, headers)
    assert without.statistics == (0, 4, 0, 0)  # faults are none


# --- How much is kept ---


def test_the_answer_that_was_not_asked_for_longest_goes_first(keep: Keep, sample_catalog: Path) -> None:
    def url(letter: str) -> str:
        return f"{LIST}?name={letter}"

    probe = keep(sample_catalog)
    probe.ask(url("a"))
    service = keep(sample_catalog, bound=3 * probe.statistics.bytes)
    assert [service.is_hit(url(letter)) for letter in "abc"] == [False] * 3
    assert service.statistics[2:] == (3, 3 * probe.statistics.bytes)
    assert service.is_hit(url("a"))
    assert not service.is_hit(url("d"))  # b goes
    assert service.statistics[2:] == (3, 3 * probe.statistics.bytes)
    assert [service.is_hit(url(letter)) for letter in "acd"] == [True] * 3
    assert not service.is_hit(url("b"))  # a goes
    assert not service.is_hit(url("a"))


def test_a_long_answer_takes_the_place_of_several_short_ones(keep: Keep, sample_catalog: Path) -> None:
    probe = keep(sample_catalog)
    probe.ask()
    service = keep(sample_catalog, bound=probe.statistics.bytes)
    for letter in "abc":
        service.ask(f"{LIST}?name={letter}")
    assert service.statistics.entries == 3
    service.ask()
    assert service.statistics[2:] == (1, probe.statistics.bytes)
    assert service.is_hit()


def test_an_answer_that_is_larger_than_the_bound_is_not_kept(keep: Keep, sample_catalog: Path) -> None:
    probe, small = keep(sample_catalog), f"{LIST}?name=none"
    probe.ask()
    service = keep(sample_catalog, bound=probe.statistics.bytes - 1)
    service.ask(small)
    assert [service.ask() for _ in range(2)] == [probe.ask()] * 2
    assert service.statistics[:3] == (0, 3, 1)
    assert service.is_hit(small)


def test_the_bound_holds_whatever_is_asked(keep: Keep, sample_catalog: Path) -> None:
    service = keep(sample_catalog, bound=20_000)
    for number in range(200):
        service.ask(f"{LIST}?limit={number % 3 + 1}&name={number}{'x' * (number % 50)}")
        assert service.statistics.bytes <= 20_000
    assert service.statistics.entries > 10


def test_what_is_kept_is_counted_with_all_that_it_takes(service: Service) -> None:
    told = [service.ask(f"{LIST}?name={'x' * 5000}"), service.ask(headers={"Accept-Encoding": "gzip"}), service.ask()]
    assert service.statistics.bytes > sum(len(each.body) for each in told) + 5000


def test_statistics_count_hits_misses_and_what_is_kept(service: Service) -> None:
    etag = service.ask().etag
    size = service.statistics.bytes
    service.ask()
    service.ask(headers={"If-None-Match": etag})
    service.ask(f"{LIST}?limit=x")
    assert service.statistics == CacheStats(hits=2, misses=1, entries=1, bytes=size)
    service.ask(ONE)
    assert service.statistics == CacheStats(hits=2, misses=2, entries=2, bytes=service.statistics.bytes)
    assert service.statistics.bytes > size


def test_statistics_are_told_to_the_log_at_the_end(
    monkeypatch: pytest.MonkeyPatch, sample_catalog: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.middleware.response_cache")
    with running(monkeypatch, sample_catalog) as service:
        service.ask()
        service.ask()
        assert caplog.messages == []
    assert caplog.messages == [f"answers of this worker: {service.statistics}"]
    assert "hits=1, misses=1, entries=1, bytes=" in caplog.text


# --- For how long ---


def test_what_another_writes_is_in_the_next_answer(keep: Keep, tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, image(1))
    service = keep(catalog)
    for number in range(2, 6):
        service.ask()
        import_images(catalog, records_of(image(number)))
        assert service.ask().ids == [image_id(each) for each in range(1, number + 1)]


def test_a_write_ends_all_that_was_kept(keep: Keep, tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, image(1))
    service, urls = keep(catalog), [LIST, ONE, OTHER_TENANT]
    for url in urls:
        service.ask(url)
    import_images(catalog, records_of(image(2)))
    assert [service.is_hit(url) for url in urls] == [False] * 3
    assert service.statistics.entries == 3
    assert [service.is_hit(url) for url in urls] == [True] * 3


def test_an_image_that_its_owner_hides_is_no_longer_told_to_others(keep: Keep, tmp_path: Path) -> None:
    owner = OTHER_TENANT.split("/")[2]
    catalog = catalog_of(tmp_path, image(owner=owner, visibility="public"))
    service = keep(catalog)
    assert [service.ask(url).ids for url in (LIST, OTHER_TENANT)] == [[image_id(1)]] * 2
    import_images(catalog, records_of(image(owner=owner, visibility="private")))
    assert [service.ask(url).ids for url in (LIST, OTHER_TENANT)] == [[], [image_id(1)]]


@pytest.mark.parametrize("prune", [False, True])
def test_an_import_that_changes_nothing_leaves_what_is_kept_alone(keep: Keep, tmp_path: Path, prune: bool) -> None:
    catalog = catalog_of(tmp_path, image())
    service = keep(catalog)
    service.ask()
    import_images(catalog, records_of(image()), prune=prune)
    ensure_catalog(catalog, load_sample)
    assert service.is_hit()


@pytest.mark.parametrize("written", ["before the query", "after the query"])
def test_what_is_written_while_an_answer_is_made_is_in_the_next_one(
    keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    catalog = catalog_of(tmp_path, image(1))
    operation, pending = images.list_images_details, [records_of(image(2))]

    def interrupted(tenant_id: str, **query: Any) -> Response:
        if written == "before the query" and pending:
            import_images(catalog, pending.pop())
        answer = operation(tenant_id, **query)
        if pending:
            import_images(catalog, pending.pop())
        return answer

    monkeypatch.setattr(images, "list_images_details", interrupted)
    service = keep(catalog)
    both = [image_id(1), image_id(2)]
    assert service.ask().ids == (both if written == "before the query" else [image_id(1)])
    assert service.ask().ids == both
    assert service.ask().ids == both
    assert service.statistics.hits == 1


def scope_of(path: str) -> Scope:
    """Make what a server makes of a request; a client of the application in its own process does so too."""
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"compute.test")],
    }


async def nothing_more() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.fixture
def copied(tmp_path: Path, sample_catalog: Path) -> Path:
    """Copy the catalog of the documented sample."""
    path = tmp_path / "catalog.db"
    path.write_bytes(sample_catalog.read_bytes())
    return path


def test_a_catalog_that_goes_away_takes_its_answers_with_it(keep: Keep, copied: Path) -> None:
    service = keep(copied)
    etag = service.ask().etag
    copied.unlink()
    for headers in ({}, {"If-None-Match": etag}, {"Accept-Encoding": "gzip"}):
        told = service.ask(headers=headers)
        assert (told.status, told.header("etag")) == (503, None)
    assert service.statistics == (0, 1, 0, 0)


def test_a_catalog_that_is_replaced_takes_its_answers_with_it(keep: Keep, copied: Path, tmp_path: Path) -> None:
    service = keep(copied)
    assert service.ask().status == 200
    (tmp_path / "other").mkdir()
    catalog_of(tmp_path / "other", image()).replace(copied)
    assert [service.ask().status for _ in range(2)] == [503, 503]
    assert service.statistics[2:] == (0, 0)


def test_an_answer_is_not_resurrected_with_its_catalog(keep: Keep, copied: Path, tmp_path: Path) -> None:
    service = keep(copied)
    before = service.ask()
    aside = copied.rename(tmp_path / "aside.db")
    assert service.ask().status == 503
    aside.rename(copied)
    assert not service.is_hit()
    assert service.ask() == before
