"""How old a copy may be: when answers from it are 203, what they say then, and what the health says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from app.api import health as service
from app.catalog.models import SyncStatus, Upstream, UpstreamSnapshot
from app.catalog.replica import apply_snapshot
from app.catalog.sqlite.reader import CatalogReader
from app.errors import CatalogUnavailable
from app.mirror import staleness as freshness
from app.mirror.staleness import StalenessMonitor
from app.mirror.status import read_sync_status, write_sync_status
from tests.conftest import Serve
from tests.support.images import catalog_of, image, image_id, records_of

GOOD = 1_800_000_000.25  # when the last good pass began
GOOD_AS_DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
LIST = "/v2/openstack/images/detail"
ONE = f"/v2/openstack/images/{image_id(1)}"
READS = {
    "list": "/v2/openstack/images",
    "details": LIST,
    "page": f"{LIST}?limit=1",
    "no images": f"{LIST}?name=none",
    "image": ONE,
    "bookmark": f"/openstack/images/{image_id(1)}",
    "metadata": f"{ONE}/metadata",
    "item": f"{ONE}/metadata/a",
}
IMAGES = image(1, metadata={"a": "b"}), image(2)

each_read = pytest.mark.parametrize("url", READS.values(), ids=READS)


class Clock:
    """The time, in the place of the module that tells it."""

    def __init__(self) -> None:
        self.now = GOOD

    def time(self) -> float:
        """Tell the time as the module does."""
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (freshness, service):
        monkeypatch.setattr(module, "time", clock)
    return clock


def make_pass(path: Path, good: float = GOOD) -> None:
    """Bring a catalog to what it has, as a pass does that began then; nothing is said of it."""
    upstream = Upstream("http://glance.test", is_admin=False, good=good)
    apply_snapshot(path, UpstreamSnapshot(upstream, records_of(*IMAGES), gone=None), tombstone_days=30)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Make a copy, whose last good pass began when the clock begins."""
    path = tmp_path / "catalog.db"
    make_pass(path)
    write_sync_status(path, SyncStatus(good=GOOD))
    return path


@pytest.fixture
def client(serve: Serve, catalog: Path) -> TestClient:
    return serve(catalog, stale_after=60)


def file_of(catalog: Path) -> Path:
    return catalog.with_name("catalog.db.mirror")


def health(client: TestClient) -> Any:
    return client.get("/healthcheck").json()


def asked(client: TestClient, url: str = LIST) -> tuple[int, bool]:
    """Ask; give the status, and whether it was a kept answer."""
    before = health(client)["cache"]["hits"]
    return client.get(url).status_code, health(client)["cache"]["hits"] > before


# --- 203 ---


@each_read
def test_an_answer_from_a_copy_is_200_until_the_copy_is_too_old(client: TestClient, clock: Clock, url: str) -> None:
    statuses = []
    for age in (0, 59.75, 59.999, 60, 60.001, 1e6):
        clock.now = GOOD + age
        statuses.append(client.get(url).status_code)
    assert statuses == [200, 200, 200, 203, 203, 203]


@each_read
def test_an_answer_from_a_stale_copy_says_the_same_and_how_old_it_is(
    client: TestClient, clock: Clock, url: str
) -> None:
    fresh = client.get(url)
    clock.now = GOOD + 60
    stale = client.get(url)
    assert stale.content == fresh.content
    assert (stale.headers["Last-Modified"], stale.headers["Cache-Control"]) == (GOOD_AS_DATE, "no-store")
    assert "ETag" not in stale.headers
    assert "Last-Modified" not in fresh.headers


@each_read
def test_head_is_answered_as_get_but_for_the_body(client: TestClient, clock: Clock, url: str) -> None:
    clock.now = GOOD + 60
    got, head = client.get(url), client.head(url)
    assert (head.status_code, head.content) == (203, b"")
    changing = {"x-compute-request-id", "x-openstack-request-id"}
    assert {name: head.headers[name] for name in head.headers.keys() - changing} == {
        name: got.headers[name] for name in got.headers.keys() - changing
    }


def test_five_minutes_are_too_old_unless_told(serve: Serve, catalog: Path, clock: Clock) -> None:
    client = serve(catalog)
    clock.now = GOOD + 299.999
    assert client.get(LIST).status_code == 200
    clock.now = GOOD + 300
    assert client.get(LIST).status_code == 203


@pytest.mark.parametrize("settings", [{"stale_after": 0}, {"stale_status": "200"}], ids=str)
def test_who_does_not_want_to_know_is_never_told(
    serve: Serve, catalog: Path, clock: Clock, settings: dict[str, Any]
) -> None:
    client = serve(catalog, **settings)
    clock.now = GOOD + 1e9
    answer = client.get(LIST)
    assert (answer.status_code, "ETag" in answer.headers, "Last-Modified" in answer.headers) == (200, True, False)
    assert asked(client) == (200, True)


@pytest.mark.parametrize("left", [None, SyncStatus(good=1.0)], ids=["nothing", "a file of passes"])
def test_what_is_no_copy_is_never_too_old(serve: Serve, tmp_path: Path, left: SyncStatus | None) -> None:
    catalog = catalog_of(tmp_path, *IMAGES)
    if left is not None:
        write_sync_status(catalog, left)
    client = serve(catalog, stale_after=1)
    assert [asked(client) for _ in range(2)] == [(200, False), (200, True)]
    assert "mirror" not in health(client)


def test_a_catalog_that_becomes_a_copy_is_one_from_the_next_request_on(
    serve: Serve, tmp_path: Path, clock: Clock
) -> None:
    catalog = catalog_of(tmp_path)
    client = serve(catalog, stale_after=60)
    assert [asked(client), asked(client)] == [(200, False), (200, True)]
    make_pass(catalog, GOOD - 60)
    assert asked(client) == (203, False)
    write_sync_status(catalog, SyncStatus(good=GOOD))
    assert asked(client) == (200, False)


@pytest.mark.parametrize("url", ["/", "/v2", "/v2/", "/healthcheck", "/openapi.json"])
def test_what_is_not_from_the_copy_is_200_always(client: TestClient, clock: Clock, url: str) -> None:
    clock.now = GOOD + 1e6
    answer = client.get(url)
    assert (answer.status_code, "Last-Modified" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (f"/v2/openstack/images/{image_id(9)}", 404),
        (f"{ONE}/metadata/z", 404),
        (f"{LIST}?marker={image_id(9)}", 400),
        ("/nowhere", 404),
    ],
)
def test_a_fault_stays_what_it_is(client: TestClient, clock: Clock, url: str, status: int) -> None:
    clock.now = GOOD + 60
    answer = client.get(url)
    assert (answer.status_code, "Last-Modified" in answer.headers) == (status, False)


def test_a_copy_that_cannot_be_read_is_a_fault_and_not_stale(client: TestClient, catalog: Path, clock: Clock) -> None:
    clock.now = GOOD + 60
    catalog.rename(catalog.with_name("away"))
    assert client.get(LIST).status_code == 503


# --- kept answers ---


def test_a_kept_answer_is_given_until_the_copy_is_too_old(client: TestClient, clock: Clock) -> None:
    assert [asked(client), asked(client)] == [(200, False), (200, True)]
    clock.now = GOOD + 59.999
    assert asked(client) == (200, True)
    clock.now = GOOD + 60
    assert [asked(client), asked(client)] == [(203, False), (203, False)]


def test_a_kept_answer_is_given_again_once_a_pass_found_nothing_new(
    client: TestClient, catalog: Path, clock: Clock
) -> None:
    etag = client.get(LIST).headers["ETag"]
    clock.now = GOOD + 60
    assert asked(client) == (203, False)
    make_pass(catalog)
    write_sync_status(catalog, SyncStatus(good=clock.now))
    assert asked(client) == (200, True)
    assert client.get(LIST, headers={"If-None-Match": etag}).status_code == 304
    clock.now += 60
    assert asked(client) == (203, False)


def test_an_answer_from_a_stale_copy_is_not_kept(client: TestClient, clock: Clock) -> None:
    clock.now = GOOD + 60
    before = health(client)["cache"]
    client.get(LIST)
    assert health(client)["cache"] == before


def test_who_has_the_answer_is_told_it_whole_from_a_stale_copy(client: TestClient, clock: Clock) -> None:
    fresh = client.get(LIST)
    clock.now = GOOD + 60
    stale = client.get(LIST, headers={"If-None-Match": fresh.headers["ETag"]})
    assert (stale.status_code, stale.content) == (203, fresh.content)


# --- what is known of passes ---


def test_what_is_told_of_passes_is_read_again(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.db"
    passes = SyncStatus(good=2.5, whole=1.5, since="2020-01-01T00:00:00Z", images=3, failed=("a", "b"), error="e")
    write_sync_status(catalog, passes)
    assert read_sync_status(catalog) == passes
    write_sync_status(catalog, SyncStatus())
    assert read_sync_status(catalog) == SyncStatus()
    assert list(tmp_path.iterdir()) == [file_of(catalog)]


def test_what_cannot_be_told_is_an_error_of_the_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogUnavailable, match=r"none/catalog\.db\.mirror: .*No such file"):
        write_sync_status(tmp_path / "none" / "catalog.db", SyncStatus())


KNOWN = {"good": 1.0, "whole": 1.0, "since": "2020-01-01T00:00:00Z", "images": 1, "failed": [], "error": None}
ODD: dict[str, list[Any]] = {
    "good": ["soon", [GOOD], {}, True, -1.0, -1e300],
    "failed": ["abc", None, [1], {}],
    "images": [None, "1", 1.5, -1],
    "since": [1],
    "error": [1],
}
SHAPES: list[Any] = [
    *(None, [], [["good", GOOD]], {}, {"good": GOOD}, {"good": GOOD, "failed": []}, KNOWN | {"another": 1}),
    *(KNOWN | {name: value} for name, values in ODD.items() for value in values),
]
BROKEN: dict[str, Callable[[Path], Any]] = {
    "missing": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "empty": lambda file: file.write_bytes(b""),
    "torn": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "not text": lambda file: file.write_bytes(b"\xff\xfe"),
} | {str(shape): lambda file, shape=shape: file.write_bytes(orjson.dumps(shape)) for shape in SHAPES}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_copy_of_which_no_pass_is_known_is_as_old_as_what_it_found_last(
    client: TestClient, catalog: Path, clock: Clock, damage: Callable[[Path], Any]
) -> None:
    write_sync_status(catalog, SyncStatus(good=GOOD + 30))
    damage(file_of(catalog))
    assert read_sync_status(catalog) == SyncStatus()
    clock.now = GOOD + 59.999
    assert client.get(LIST).status_code == 200
    clock.now = GOOD + 60
    answer = client.get(LIST)
    assert (answer.status_code, answer.headers["Last-Modified"]) == (203, GOOD_AS_DATE)
    assert health(client)["mirror"] == {"age": None, "error": None}


def test_a_copy_of_which_no_good_pass_is_known_is_as_old_as_what_it_found_last(
    client: TestClient, catalog: Path, clock: Clock
) -> None:
    write_sync_status(catalog, SyncStatus(error="A timeout occurred at the image service"))
    clock.now = GOOD + 60
    answer = client.get(LIST)
    assert (answer.status_code, answer.headers["Last-Modified"]) == (203, GOOD_AS_DATE)


def test_a_catalog_has_one_file_of_passes_by_whatever_name_it_is_reached(
    serve: Serve, catalog: Path, clock: Clock
) -> None:
    (catalog.parent / "elsewhere").mkdir()
    link, twice = catalog.with_name("link.db"), catalog.parent / "elsewhere" / "twice.db"
    link.symlink_to(catalog.name)
    twice.symlink_to(link)
    clock.now = GOOD + 60
    write_sync_status(twice, SyncStatus(good=clock.now))
    assert [read_sync_status(path) for path in (catalog, link, twice)] == [SyncStatus(good=clock.now)] * 3
    assert [serve(path, stale_after=60).get(LIST).status_code for path in (catalog, link, twice)] == [200] * 3
    assert list(catalog.parent.rglob("*.mirror*")) == [file_of(catalog)]


def test_a_catalog_holds_while_it_is_fresh_and_can_be_read(catalog: Path, clock: Clock) -> None:
    opened = CatalogReader(catalog)
    fresh = StalenessMonitor(opened, 60)
    assert [fresh.holds(opened.version()) for _ in range(2)] == [True, True]
    clock.now = GOOD + 60
    assert [fresh.holds(opened.version()) for _ in range(2)] == [False, False]
    write_sync_status(catalog, SyncStatus(good=GOOD + 1))
    assert fresh.holds(opened.version())
    catalog.rename(catalog.with_name("away"))
    assert [fresh.holds(None) for _ in range(2)] == [False, False]


# --- the health ---


@pytest.mark.parametrize(
    ("passed", "age"), [(0, 0), (0.999, 0), (1, 1), (59.999, 59), (60, 60), (1e6, 1_000_000), (-5, 0)]
)
def test_the_health_has_how_old_the_copy_is_in_seconds(
    client: TestClient, clock: Clock, passed: float, age: int
) -> None:
    clock.now = GOOD + passed
    assert health(client)["mirror"] == {"age": age, "error": None}


def test_the_health_has_what_stopped_the_last_pass(client: TestClient, catalog: Path) -> None:
    write_sync_status(catalog, SyncStatus(good=GOOD - 7, error="A timeout occurred at the image service"))
    assert health(client)["mirror"] == {"age": 7, "error": "A timeout occurred at the image service"}
    write_sync_status(catalog, SyncStatus(error="A timeout occurred at the image service"))
    assert health(client)["mirror"] == {"age": None, "error": "A timeout occurred at the image service"}


def test_the_health_says_it_where_callers_are_asked_for_a_token_too(serve: Serve, catalog: Path) -> None:
    assert health(serve(catalog, auth="token")) == {"status": "available", "mirror": {"age": 0, "error": None}}
