"""Full and incremental syncs: what they request, what they write to the catalog, and what they record."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.catalog.engine import Engine, current_version
from app.catalog.errors import CatalogBusy, CatalogUnavailable
from app.catalog.models import SyncCounts, SyncStatus, SyncTotal, Upstream
from app.catalog.reader import CatalogReader
from app.catalog.replica import CatalogNotEmpty, UpstreamMismatch, apply_delete, format_sync_status_reason
from app.catalog.sqlite.engine import SQLiteEngine
from app.catalog.transfer import export_images
from app.errors import ImageNotFound
from app.mirror.client import UpstreamError
from app.mirror.mapping import to_catalog_image
from app.mirror.sync import Mirror, SyncFailed, SyncReport
from tests.support.catalogs import listed
from tests.support.clock import FakeClock
from tests.support.engines import ImpatientEngine
from tests.support.fake_glance import (
    CONNECTION_CLOSED,
    NO_RESPONSE,
    UPPER_CASE_IDS,
    FakeGlance,
    FakeResponse,
    glance_client,
    glance_image,
    running_glance,
)
from tests.support.images import catalog_of, image, image_id, stored_images
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.support.replicas import stored

LIST_ALL = "GET /v2/images?limit=1000&visibility=all"
PING = "GET /v2/images?limit=1"
MALFORMED = "A malformed image (name: 5 is not text without the character NUL, or null)"
T0, T1, T2 = "2020-01-01T00:00:00Z", "2020-01-01T00:10:00Z", "2020-01-01T00:20:00Z"
BEFORE_T0, BEFORE_T1, BEFORE_T2 = "2019-12-31T23:59:00Z", "2020-01-01T00:09:00Z", "2020-01-01T00:19:00Z"  # a minute


def list_since(time: str) -> str:
    return f"{LIST_ALL}&updated_at=gte%3A{time.replace(':', '%3A')}"


def get(number: int) -> str:
    return f"GET /v2/images/{image_id(number)}"


def get_members(number: int) -> str:
    return f"{get(number)}/members"


shared = partial(glance_image, visibility="shared")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Engine:
    return SQLiteEngine(path)


MirrorOf = Callable[..., Mirror]


@pytest.fixture
def mirror_of(catalog: Engine, clock: FakeClock) -> MirrorOf:
    def build(glance: FakeGlance, *, is_admin: bool = False, **options: Any) -> Mirror:
        connect = partial(glance_client, glance.url, timeout=0.5, is_admin=is_admin)
        defaults: dict[str, Any] = {"engine": catalog, "sample_ids": [], "progress": lambda pages, _: pages}
        return Mirror(connect, tombstone_days=30, clock=clock, **defaults | options)

    return build


@pytest.fixture
def mirror(glance: FakeGlance, mirror_of: MirrorOf) -> Mirror:
    return mirror_of(glance)


Sync = Callable[..., SyncReport]


@pytest.fixture
def sync(mirror: Mirror, clock: FakeClock) -> Sync:
    """Return a function that runs an incremental sync by default, a second after the last event."""

    def run(*, full: bool = False) -> SyncReport:
        clock.advance()
        return mirror.sync(full=full)

    return run


full_and_incremental = pytest.mark.parametrize("full", [True, False], ids=["full", "incremental"])


def statuses(catalog: Engine) -> dict[int, str]:
    return {number: image.status for number, image in stored(catalog).items()}


def names(catalog: Engine) -> dict[int, str | None]:
    return {number: image.name for number, image in stored(catalog).items()}


def members(catalog: Engine) -> dict[int, Any]:
    return {number: orjson.loads(image.members) for number, image in stored(catalog).items()}


def failure_reasons(catalog: Engine) -> dict[int, str | None]:
    """Return the `sync_status_reason` of each image that is not deleted."""
    return {
        number: orjson.loads(image.metadata).get("sync_status_reason")
        for number, image in stored(catalog).items()
        if image.status != "DELETED"
    }


# --- full syncs ---


def test_full_sync_copies_all_images(glance: FakeGlance, catalog: Engine, clock: FakeClock, sync: Sync) -> None:
    images = glance_image(1, a="b"), glance_image(2, visibility="private", owner=PROJECT), shared(3, owner=PROJECT)
    glance.put(*images)
    glance.share(3, **{OTHER_PROJECT: "accepted", PROJECT: "pending"})
    assert sync(full=True) == SyncReport(True, 3, SyncCounts(3, 0, 0), failed={}, incomplete={}, seconds=0)
    assert stored(catalog) == {
        1: to_catalog_image(images[0]),
        2: to_catalog_image(images[1]),
        3: to_catalog_image(images[2], glance.members[image_id(3)]),
    }
    assert CatalogReader(catalog).upstream() == Upstream(glance.url, is_admin=False, synced_at=clock.time(), revision=1)


def test_full_sync_requests_pages_and_members_of_shared_images(glance: FakeGlance, sync: Sync) -> None:
    visibilities = ["public", "shared", "private", "community", "shared"]
    glance.put(*(glance_image(number, visibility=word) for number, word in enumerate(visibilities, 1)))
    glance.page_size = 3
    for _ in range(2):
        sync(full=True)
        requests = glance.take_requests()
        assert requests[:2] == [LIST_ALL, f"{LIST_ALL}&marker={image_id(3)}"]
        assert sorted(requests[2:]) == [get_members(2), get_members(5)]


def test_images_are_added_in_glances_order_although_members_are_slow(
    glance: FakeGlance, catalog: Engine, sync: Sync
) -> None:
    glance.page_size = 2
    glance.put(*(shared(number, created_at=f"202{number}-01-01T00:00:00Z") for number in (3, 1, 5, 2, 4)))
    second = threading.Event()
    glance.before = {get_members(4): second.set, get_members(5): partial(second.wait, 5)}
    sync(full=True)
    assert list(stored(catalog)) == [5, 4, 3, 2, 1]


def test_image_listed_twice_is_copied_once(glance: FakeGlance, catalog: Engine, sync: Sync) -> None:
    images = [glance_image(1), glance_image(2), glance_image(1, name="again")]
    glance.responses[LIST_ALL] = FakeResponse(200, {"images": images})
    assert sync(full=True).images == 2
    assert list(names(catalog).items()) == [(1, "again"), (2, None)]


def test_only_full_syncs_detect_deleted_images_and_new_members(glance: FakeGlance, catalog: Engine, sync: Sync) -> None:
    glance.put(glance_image(1), shared(3))
    sync(full=True)
    glance.remove(1)
    assert (sync().counts, statuses(catalog)[1]) == (SyncCounts(0, 0, 0), "ACTIVE")
    glance.share(3, **{PROJECT: "accepted"})
    assert sync(full=True).counts == SyncCounts(new=0, changed=1, deleted=1)
    assert statuses(catalog) == {3: "ACTIVE", 1: "DELETED"}
    assert members(catalog)[3] == [PROJECT]


def test_image_is_deleted_only_if_glance_lacks_it(glance: FakeGlance, catalog: Engine, sync: Sync) -> None:
    glance.put(glance_image(1), glance_image(2), glance_image(3))
    sync(full=True)
    glance.remove(1)
    glance.put(glance_image(2, status="killed"))
    glance.take_requests()
    for _ in range(2):
        sync(full=True)
        assert statuses(catalog) == {3: "ACTIVE", 2: "ERROR", 1: "DELETED"}
    requests = glance.take_requests()
    assert sorted(requests) == sorted([LIST_ALL, get(1), get(2), LIST_ALL, get(2)])


def test_sync_without_changes_does_not_write(glance: FakeGlance, catalog: Engine, sync: Sync) -> None:
    glance.put(glance_image(1, a="b"), shared(2), shared(3), glance_image(4, min_disk="x"))
    glance.share(2, **{PROJECT: "accepted"})
    sync(full=True)
    glance.responses[get_members(3)] = FakeResponse(500)
    sync(full=True)
    before = asyncio.run(current_version(catalog))
    assert [sync(full=full).counts for full in (True, False, True)] == [SyncCounts(0, 0, 0)] * 3
    assert asyncio.run(current_version(catalog)) == before


def test_progress_of_full_syncs_is_reported_with_the_expected_total(glance: FakeGlance, mirror_of: MirrorOf) -> None:
    reported = []

    def report(pages: Any, expected: int) -> Iterator[list[Any]]:
        for page in pages:
            reported.append((len(page), expected))
            yield page

    mirror = mirror_of(glance, progress=report)
    glance.page_size = 2
    glance.put(*(glance_image(number) for number in (1, 2, 3)))
    for full in (True, False, True):
        mirror.sync(full=full)
    assert reported == [(2, 0), (1, 0), (2, 3), (1, 3)]


# --- incremental syncs ---


def test_incremental_sync_lists_changes_with_an_overlap_of_a_minute(
    glance: FakeGlance, catalog: Engine, sync: Sync
) -> None:
    glance.put(glance_image(1, updated_at=T1), glance_image(2, updated_at=T0))
    sync(full=True)
    glance.put(glance_image(2, updated_at=T2, name="new"), glance_image(3, updated_at=T2))
    assert sync() == SyncReport(False, 3, SyncCounts(1, 1, 0), failed={}, incomplete={}, seconds=0)
    assert names(catalog)[2] == "new"
    glance.remove(2, 3)
    for _ in range(2):  # a list without images does not move the start time
        assert sync().images == 0
    assert glance.take_requests() == [LIST_ALL, list_since(BEFORE_T1), *[list_since(BEFORE_T2)] * 2]


def test_overlap_includes_the_duration_of_the_last_sync(glance: FakeGlance, clock: FakeClock, sync: Sync) -> None:
    glance.put(glance_image(1, updated_at=T1))
    glance.before[LIST_ALL] = lambda: clock.advance(100.5)
    assert sync(full=True).seconds == 100.5
    sync()
    assert glance.take_requests() == [LIST_ALL, list_since("2020-01-01T00:07:19Z")]


@pytest.mark.parametrize("seconds_ahead", [0, 1, 86_400])
def test_update_time_in_the_future_counts_as_the_start_of_the_sync(
    glance: FakeGlance, clock: FakeClock, sync: Sync, seconds_ahead: float
) -> None:
    glance.put(glance_image(1, updated_at=clock.now(offset=1 + seconds_ahead)))
    sync(full=True)
    expected = clock.now(offset=-60)
    sync()
    assert glance.take_requests() == [LIST_ALL, list_since(expected)]


def test_incremental_sync_follows_pages(glance: FakeGlance, sync: Sync) -> None:
    glance.put(glance_image(1, updated_at=T0))
    sync(full=True)
    glance.page_size = 1
    glance.put(glance_image(2, updated_at=T0), glance_image(3, updated_at=T0))
    assert sync().counts == SyncCounts(new=2, changed=0, deleted=0)
    query = list_since(BEFORE_T0)
    expected = [LIST_ALL, query, f"{query}&marker={image_id(3)}", f"{query}&marker={image_id(2)}"]
    assert glance.take_requests() == expected


@full_and_incremental
def test_image_pending_deletion_is_shown_as_deleted_until_it_is_deleted(
    glance: FakeGlance, catalog: Engine, sync: Sync, full: bool
) -> None:
    glance.put(glance_image(1), glance_image(2))
    sync(full=True)
    glance.put(glance_image(1, status="pending_delete"), glance_image(3, status="deleted"))
    assert sync(full=full).counts == SyncCounts(new=1, changed=1, deleted=0)
    assert statuses(catalog) == {2: "ACTIVE", 1: "DELETED", 3: "DELETED"}
    reader = CatalogReader(catalog)
    assert reader.get_image(PROJECT, image_id(1)).status == "DELETED"
    assert listed(catalog) == [2]
    glance.remove(1)
    assert sync(full=True).counts == SyncCounts(new=0, changed=0, deleted=1)
    with pytest.raises(ImageNotFound):
        reader.get_image(PROJECT, image_id(1))


@full_and_incremental
def test_hidden_image_is_only_shown_by_id(glance: FakeGlance, catalog: Engine, sync: Sync, full: bool) -> None:
    glance.put(glance_image(1), shared(2))
    glance.share(2, **{PROJECT: "accepted"})
    sync(full=True)
    reader = CatalogReader(catalog)
    for hidden, numbers in ((True, []), (False, [2, 1])):
        glance.put(glance_image(1, os_hidden=hidden), shared(2, os_hidden=hidden))
        assert sync(full=full).counts == SyncCounts(new=0, changed=2, deleted=0)
        assert listed(catalog) == listed(catalog, changes_since="1970-01-01T00:00:00Z") == numbers
        assert [reader.get_image(PROJECT, image_id(number)).status for number in (1, 2)] == ["ACTIVE"] * 2


@full_and_incremental
def test_sync_does_not_overwrite_a_change_that_came_meanwhile(
    glance: FakeGlance, catalog: Engine, clock: FakeClock, sync: Sync, full: bool
) -> None:
    glance.put(glance_image(1), shared(2))
    sync(full=True)
    glance.put(glance_image(1, name="new"), shared(2, name="new"))
    glance.before[get_members(2)] = lambda: apply_delete(
        catalog, glance.url, image_id(1), tombstone_days=30, clock=clock
    )
    assert sync(full=full).counts == SyncCounts(new=0, changed=1, deleted=0)
    assert statuses(catalog) == {2: "ACTIVE", 1: "DELETED"}


# --- members ---


def test_members_are_fetched_for_new_and_changed_shared_images(glance: FakeGlance, catalog: Engine, sync: Sync) -> None:
    glance.put(shared(1), shared(2), glance_image(3, visibility="private"), shared(4), glance_image(5), shared(7))
    for number in (1, 2, 4):
        glance.share(number, **{PROJECT: "accepted"})
    sync(full=True)
    glance.put(shared(2, name="new"), shared(3), glance_image(4, visibility="private"), shared(6))
    glance.put(shared(7, updated_at=T1))
    for number in (1, 2, 3, 6, 7):
        glance.share(number, **{OTHER_PROJECT: "accepted"})
    glance.take_requests()
    sync()
    first, *others = glance.take_requests()
    assert (first, sorted(others)) == (list_since(BEFORE_T0), [get_members(number) for number in (2, 3, 6, 7)])
    assert members(catalog) == {1: [PROJECT], 4: [], 5: []} | {number: [OTHER_PROJECT] for number in (2, 3, 6, 7)}


def test_members_are_not_fetched_again_after_a_recovery(glance: FakeGlance, catalog: Engine, sync: Sync) -> None:
    glance.put(shared(1))
    glance.share(1, **{PROJECT: "accepted"})
    sync(full=True)
    glance.responses[get_members(1)] = FakeResponse(500)
    sync(full=True)
    glance.responses.clear()
    sync()
    before = stored(catalog)
    assert before[1].updated > T0
    glance.take_requests()
    sync()
    assert (glance.take_requests(), stored(catalog)) == ([list_since(BEFORE_T0)], before)


def test_members_of_eight_images_are_fetched_concurrently(glance: FakeGlance, sync: Sync) -> None:
    glance.put(*(shared(number) for number in range(16)))
    eight = threading.Barrier(8, timeout=5)
    glance.before = {get_members(number): eight.wait for number in range(16)}
    assert sync(full=True).failed == {}


def test_image_deleted_before_its_members_are_fetched_is_deleted(
    glance: FakeGlance, catalog: Engine, sync: Sync
) -> None:
    glance.put(shared(1), shared(2))
    sync(full=True)
    glance.put(shared(1, name="new"), shared(3))
    for number in (1, 3):
        glance.before[get_members(number)] = partial(glance.remove, number)
    report = sync()
    assert (report.counts, report.failed) == (SyncCounts(new=0, changed=0, deleted=1), {})
    assert statuses(catalog) == {2: "ACTIVE", 1: "DELETED"}


# --- images that fail ---

MEMBER_FAILURES: dict[str, tuple[FakeResponse, str, str]] = {
    "500": (FakeResponse(500), "A response with status 500", ""),
    "403": (FakeResponse(403), "A response with status 403", ""),
    "no response": (NO_RESPONSE, "A timeout", r" \(Request to http://.* timed out\)"),
    "closed connection": (CONNECTION_CLOSED, "A connection failure", r" \(Unable to establish connection to .*\)"),
    "HTML": (FakeResponse(200, b"<html>"), "A malformed response", r" \(unexpected character.*\)"),
    "incomplete member": (FakeResponse(200, {"members": [{}]}), "A malformed response", r" \('(status|member_id)'\)"),
}


@full_and_incremental
@pytest.mark.parametrize(("response", "reason", "detail"), MEMBER_FAILURES.values(), ids=MEMBER_FAILURES)
def test_failure_to_fetch_members_fails_only_that_image(  # noqa: PLR0913, PLR0917 a table and three fixtures
    glance: FakeGlance, catalog: Engine, sync: Sync, response: FakeResponse, reason: str, detail: str, full: bool
) -> None:
    glance.put(shared(1), shared(2), glance_image(3))
    glance.share(1, **{PROJECT: "accepted"})
    sync(full=True)
    glance.put(*(image | {"name": "new"} for image in (shared(1), shared(2), glance_image(3))))
    glance.responses[get_members(1)] = response
    report = sync(full=full)
    assert (report.images, report.counts) == (3, SyncCounts(new=0, changed=3, deleted=0))
    assert list(report.failed) == [image_id(1)]
    assert re.fullmatch(f"{reason}{detail}", report.failed[image_id(1)])
    expected = format_sync_status_reason(reason, glance.url, image_id(1))
    assert failure_reasons(catalog) == {1: expected, 2: None, 3: None}
    assert names(catalog) == {1: None, 2: "new", 3: "new"}
    assert members(catalog)[1] == [PROJECT]


@full_and_incremental
@pytest.mark.parametrize("visibility", ["private", "shared", "public"])
def test_failed_image_takes_its_current_owner_and_visibility(
    glance: FakeGlance, catalog: Engine, sync: Sync, visibility: str, full: bool
) -> None:
    glance.put(shared(1), shared(2))
    for number in (1, 2):
        glance.share(number, **{PROJECT: "accepted"})
    sync(full=True)
    for number, name in ((1, 5), (2, "new")):
        glance.put(glance_image(number, visibility=visibility, owner=OTHER_PROJECT, name=name))
    glance.responses[get_members(2)] = FakeResponse(500)
    sync(full=full)
    assert [(image.owner, image.visibility) for image in stored(catalog).values()] == [(OTHER_PROJECT, visibility)] * 2
    assert members(catalog)[1] == ([PROJECT] if visibility == "shared" else [])
    assert failure_reasons(catalog)[1] == format_sync_status_reason("A malformed image", glance.url, image_id(1))


@full_and_incremental
def test_invalid_image_fails_only_itself(glance: FakeGlance, catalog: Engine, sync: Sync, full: bool) -> None:
    glance.put(glance_image(1, name="old"), glance_image(2))
    sync(full=True)
    glance.put(glance_image(1, name=5), glance_image(2, name="new"), glance_image(3, name=5))
    glance.images["x"] = glance_image(4) | {"id": "x"}
    report = sync(full=full)
    assert (report.images, report.counts) == (4, SyncCounts(new=0, changed=2, deleted=0))
    assert report.failed["x"].startswith("A malformed image (id: ")
    assert report.failed == {image_id(3): MALFORMED, image_id(1): MALFORMED, "x": report.failed["x"]}
    expected = format_sync_status_reason("A malformed image", glance.url, image_id(1))
    assert failure_reasons(catalog) == {1: expected, 2: None}
    assert names(catalog) == {1: "old", 2: "new"}


def test_failed_image_is_retried_until_it_is_copied(glance: FakeGlance, sync: Sync) -> None:
    glance.put(shared(1, updated_at=T0), glance_image(2, updated_at=T1))
    glance.responses[get_members(1)] = FakeResponse(500)
    sync(full=True)
    for _ in range(2):
        assert list(sync().failed) == [image_id(1)]
    del glance.responses[get_members(1)]
    assert sync().counts == SyncCounts(new=1, changed=0, deleted=0)
    sync()
    query = list_since(BEFORE_T1)
    assert glance.take_requests() == [LIST_ALL, get_members(1), *[query, get(1), get_members(1)] * 3, query]


def test_failed_image_that_is_listed_is_not_fetched_as_well(glance: FakeGlance, sync: Sync) -> None:
    glance.put(shared(1), glance_image(2))
    glance.responses[get_members(1)] = FakeResponse(500)
    sync(full=True)
    sync()
    assert glance.take_requests() == [LIST_ALL, get_members(1), list_since(BEFORE_T0), get_members(1)]


def test_failure_and_recovery_update_the_image_once_each(
    glance: FakeGlance, catalog: Engine, clock: FakeClock, sync: Sync
) -> None:
    glance.put(shared(1, updated_at=T0), glance_image(2, updated_at=T1))
    sync(full=True)
    is_updated = []
    for status, fulls in ((500, (True, False, False, True)), (200, (False, False))):
        glance.responses[get_members(1)] = FakeResponse(status, {"members": []})
        for full in fulls:
            sync(full=full)
            is_updated.append(stored(catalog)[1].updated == clock.now())
    assert is_updated == [True, False, False, False, True, False]
    assert failure_reasons(catalog) == {1: None, 2: None}


@pytest.mark.parametrize(
    "response",
    [
        *(FakeResponse(500), FakeResponse(403), NO_RESPONSE, CONNECTION_CLOSED),
        *(FakeResponse(200, b"<html>"), FakeResponse(200, [])),
    ],
    ids=str,
)
def test_failed_image_that_cannot_be_fetched_fails_only_itself(
    glance: FakeGlance, catalog: Engine, sync: Sync, response: FakeResponse
) -> None:
    glance.put(glance_image(1, updated_at=T0), glance_image(2, updated_at=T1))
    sync(full=True)
    glance.put(glance_image(1, updated_at=T0, name=5))
    sync(full=True)
    glance.responses[get(1)] = response
    glance.put(glance_image(2, updated_at=T2, name="new"))
    report = sync()
    assert (report.images, list(report.failed)) == (2, [image_id(1)])
    assert names(catalog) == {1: None, 2: "new"}
    reason = report.failed[image_id(1)].partition(" (")[0]
    assert failure_reasons(catalog) == {1: format_sync_status_reason(reason, glance.url, image_id(1)), 2: None}


def test_failed_image_that_no_longer_exists_is_deleted(glance: FakeGlance, catalog: Engine, sync: Sync) -> None:
    glance.put(glance_image(1, updated_at=T0), glance_image(2, updated_at=T1))
    sync(full=True)
    glance.put(glance_image(1, updated_at=T0, name=5))
    sync(full=True)
    glance.remove(1)
    report = sync()
    assert (report.counts, report.failed) == (SyncCounts(new=0, changed=0, deleted=1), {})
    assert (statuses(catalog), catalog.read_sync_status().failed) == ({2: "ACTIVE", 1: "DELETED"}, {})


def test_incomplete_image_is_reported_until_it_is_complete(glance: FakeGlance, catalog: Engine, sync: Sync) -> None:
    glance.put(shared(1, size=2**53), glance_image(2, updated_at=T1))
    glance.share(1, **{PROJECT: "accepted", "a/b": "accepted"})
    expected = {image_id(1): "Copied without the size '9007199254740992', the member 'a/b'"}
    for full in (True, False, True):
        assert sync(full=full).incomplete == catalog.read_sync_status().incomplete == expected
    assert members(catalog)[1] == [PROJECT]
    glance.put(shared(1, updated_at=T2))
    assert sync().incomplete == {image_id(1): "Copied without the member 'a/b'"}
    glance.share(1, **{PROJECT: "accepted"})
    assert sync().incomplete == catalog.read_sync_status().incomplete == {}


@pytest.mark.parametrize("upstream_id", UPPER_CASE_IDS)
def test_image_whose_id_has_upper_case_is_deleted_only_if_glance_lacks_it(
    glance: FakeGlance, catalog: Engine, sync: Sync, upstream_id: str
) -> None:
    def deleted() -> list[str]:
        return [each.id for each in export_images(catalog, deleted=True) if each.status == "DELETED"]

    glance.put(glance_image(1, id=upstream_id, updated_at=T0), glance_image(2, updated_at=T1))
    sync(full=True)
    glance.put(glance_image(1, id=upstream_id, name=5, updated_at=T0))
    sync(full=True)
    assert (list(sync().failed), deleted()) == ([upstream_id.lower()], [])  # it is not listed, but fetched by its id
    glance.put(glance_image(1, id=upstream_id, status="killed"))
    sync(full=True)
    assert deleted() == []
    del glance.images[upstream_id]
    glance.take_requests()
    sync(full=True)
    assert deleted() == [upstream_id.lower()]
    assert glance.take_requests() == [LIST_ALL, f"GET /v2/images/{upstream_id}"]
    assert catalog.read_sync_status().upstream_ids == {}


def test_ids_in_glance_are_recorded_although_the_sync_fails(
    glance: FakeGlance, path: Path, mirror_of: MirrorOf
) -> None:
    catalog = ImpatientEngine(path)
    mirror = mirror_of(glance, engine=catalog)
    mirror.sync(full=True)
    glance.put(glance_image(1, id=UPPER_CASE_IDS[0]))
    with catalog.transaction(timeout=1), pytest.raises(SyncFailed):
        mirror.sync(full=True)
    assert list(catalog.read_sync_status().upstream_ids.values()) == [UPPER_CASE_IDS[0]]


# --- the probe after consecutive failures ---


def test_glance_is_probed_after_five_consecutive_failures(glance: FakeGlance, sync: Sync) -> None:
    glance.put(*(shared(number) for number in range(12)))
    glance.responses = {get_members(number): FakeResponse(503) for number in range(12)}
    assert len(sync(full=True).failed) == 12
    requests = glance.take_requests()
    assert requests.index(PING) > 5
    assert sorted(requests) == sorted([LIST_ALL, PING, PING, *(get_members(number) for number in range(12))])


def test_failed_probe_fails_the_sync_and_cancels_the_remaining_requests(
    glance: FakeGlance, catalog: Engine, sync: Sync
) -> None:
    glance.put(*(shared(number) for number in range(100)))
    sync(full=True)
    before = stored(catalog)
    glance.responses = {get_members(number): FakeResponse(503) for number in range(95, 100)}
    glance.responses |= {get_members(number): NO_RESPONSE for number in range(95)} | {PING: FakeResponse(503)}
    glance.take_requests()
    with pytest.raises(SyncFailed, match=r"^A response with status 503 occurred at the image service$"):
        sync(full=True)
    assert stored(catalog) == before
    assert len(glance.take_requests()) <= 1 + 5 + 8 + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("collector")]


def test_failed_retries_lead_to_a_probe_too(glance: FakeGlance, sync: Sync) -> None:
    glance.put(glance_image(9), *(glance_image(number, name=5, updated_at="x") for number in range(5)))
    sync(full=True)
    glance.remove(*range(5))
    glance.responses = {get(number): FakeResponse(503) for number in range(5)}
    sync()
    assert glance.take_requests().count(PING) == 1


def test_success_resets_the_count_of_consecutive_failures(glance: FakeGlance, sync: Sync) -> None:
    glance.put(*(shared(number) for number in range(10)))
    glance.responses = {get_members(number): FakeResponse(503) for number in range(10) if number != 5}
    sync(full=True)
    assert glance.take_requests().count(PING) == 1  # images come newest first: four failures, a success, five failures
    del glance.responses[get_members(2)]
    sync(full=True)
    assert PING not in glance.take_requests()


@pytest.mark.parametrize(
    ("images", "failures", "is_probed"),
    [
        ([glance_image(n, visibility="shared" if n % 2 else "public") for n in range(10)], 5, True),
        ([glance_image(n, name=5) for n in range(12)], 12, False),
    ],
    ids=["success", "failure"],
)
def test_image_that_needs_no_request_does_not_count(
    glance: FakeGlance, sync: Sync, images: list[Any], failures: int, is_probed: bool
) -> None:
    glance.put(*images)
    glance.responses = {get_members(number): FakeResponse(503) for number in range(10)}
    assert len(sync(full=True).failed) == failures
    assert (PING in glance.take_requests()) is is_probed


# --- lists that change while they are read ---


@full_and_incremental
def test_list_starts_over_when_its_marker_is_deleted(
    glance: FakeGlance, catalog: Engine, sync: Sync, full: bool
) -> None:
    glance.put(*(glance_image(number) for number in range(5)))
    sync(full=True)
    glance.page_size = 2
    glance.put(*(glance_image(number, name="new") for number in range(5)))
    first = LIST_ALL if full else list_since(BEFORE_T0)
    glance.before[f"{first}&marker={image_id(3)}"] = partial(glance.remove, 3)
    glance.take_requests()
    assert sync(full=full).images == 4
    expected = [first, f"{first}&marker={image_id(3)}", first, f"{first}&marker={image_id(2)}"]
    assert glance.take_requests() == [*expected, *([get(3)] if full else [])]
    assert statuses(catalog)[3] == ("DELETED" if full else "ACTIVE")


@pytest.mark.parametrize(("status", "lists"), [(400, 5), (500, 1)], ids=["unknown marker", "failure"])
def test_failure_of_a_later_page_fails_the_sync_and_an_unknown_marker_after_five_lists(
    glance: FakeGlance, path: Path, sync: Sync, status: int, lists: int
) -> None:
    glance.page_size = 1
    glance.put(glance_image(1), glance_image(2))
    glance.responses[f"{LIST_ALL}&marker={image_id(2)}"] = FakeResponse(status)
    with pytest.raises(SyncFailed, match=f"^A response with status {status} occurred at the image service"):
        sync(full=True)
    assert glance.take_requests() == [LIST_ALL, f"{LIST_ALL}&marker={image_id(2)}"] * lists
    assert not path.exists()


# --- syncs that fail ---

LIST_FAILURES: dict[str, tuple[FakeResponse, str]] = {
    **{str(status): (FakeResponse(status), f"A response with status {status}") for status in (401, 404, 500)},
    "302": (FakeResponse(302, b"", (("Location", "/v2/images/"),)), "A response with status 302"),
    "no response": (NO_RESPONSE, "A timeout"),
    "closed connection": (CONNECTION_CLOSED, "A connection failure"),
    "HTML": (FakeResponse(200, b"<html>"), "A malformed response"),
    **{
        str(document): (FakeResponse(200, document), "A malformed page")
        for document in (
            {},
            {"images": [5]},
            {"images": [{"id": 5}]},
            {"images": [{"id": image_id(1)}, {"name": "a"}]},
            {"images": [], "next": "/v2/images?limit=1000"},
        )
    },
}


@pytest.mark.parametrize(("response", "reason"), LIST_FAILURES.values(), ids=LIST_FAILURES)
def test_failed_sync_leaves_the_catalog_unchanged_and_records_the_error(
    glance: FakeGlance, catalog: Engine, sync: Sync, response: FakeResponse, reason: str
) -> None:
    glance.put(glance_image(1, updated_at=T1), shared(2))
    sync(full=True)
    before, status = stored(catalog), catalog.read_sync_status()
    glance.responses[LIST_ALL] = response
    with pytest.raises(SyncFailed, match=f"^{reason} occurred at the image service"):
        sync(full=True)
    assert stored(catalog) == before
    assert catalog.read_sync_status() == SyncStatus(
        synced_at=status.synced_at,
        full_synced_at=status.full_synced_at,
        changes_since=BEFORE_T1,
        images=2,
        error=f"{reason} occurred at the image service",
        totals={"full": SyncTotal(1), "failed": SyncTotal(1)},
    )
    del glance.responses[LIST_ALL]
    sync(full=True)
    assert catalog.read_sync_status().error is None


def test_failure_to_connect_fails_the_sync(catalog: Engine) -> None:
    def connect() -> Any:
        raise UpstreamError("A connection failure") from OSError("refused")

    mirror = Mirror(connect, catalog, tombstone_days=30, sample_ids=[], progress=lambda pages, _: pages)
    with pytest.raises(SyncFailed, match=r"^A connection failure occurred at the image service: refused$"):
        mirror.sync(full=True)
    assert catalog.read_sync_status().error == "A connection failure occurred at the image service"


def test_busy_catalog_fails_the_sync(glance: FakeGlance, path: Path, mirror_of: MirrorOf) -> None:
    catalog = ImpatientEngine(path)
    mirror = mirror_of(glance, engine=catalog)
    mirror.sync(full=True)
    glance.put(glance_image(1))
    with catalog.transaction(timeout=1), pytest.raises(SyncFailed, match=str(CatalogBusy())):
        mirror.sync(full=True)
    assert catalog.read_sync_status().error == "The catalog could not be written"
    assert mirror.sync(full=True).counts == SyncCounts(1, 0, 0)


def test_unreadable_status_fails_the_sync(glance: FakeGlance, path: Path, mirror_of: MirrorOf) -> None:
    class Engine(SQLiteEngine):
        def read_sync_status(self) -> SyncStatus:
            raise CatalogUnavailable("no connection")

    mirror = mirror_of(glance, engine=Engine(path))
    for run in (lambda: mirror.sync(full=True), lambda: mirror.last_full_sync):
        with pytest.raises(SyncFailed, match="no connection"):
            run()


@full_and_incremental
def test_unreadable_catalog_fails_the_sync(
    glance: FakeGlance, path: Path, catalog: Engine, sync: Sync, full: bool
) -> None:
    glance.put(glance_image(1))
    sync(full=True)
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(SyncFailed, match=f"^{path}: file is not a database$"):
        sync(full=full)
    assert catalog.read_sync_status().error == "The catalog could not be written"


def test_status_that_cannot_be_written_fails_the_sync(
    glance: FakeGlance, path: Path, catalog: Engine, sync: Sync
) -> None:
    glance.put(glance_image(1))
    sync(full=True)
    before = catalog.read_sync_status()
    path.with_name("catalog.db.mirror.new").mkdir()
    glance.put(glance_image(2))
    with pytest.raises(SyncFailed, match=f"^{path}.mirror: .*Is a directory"):
        sync(full=True)
    assert (statuses(catalog), catalog.read_sync_status()) == ({1: "ACTIVE", 2: "ACTIVE"}, before)


@full_and_incremental
def test_catalog_with_imported_images_is_rejected(path: Path, catalog: Engine, sync: Sync, full: bool) -> None:
    catalog_of(path.parent, image(1))
    with pytest.raises(CatalogNotEmpty):
        sync(full=full)
    assert list(stored(catalog).values()) == stored_images(image(1))


def test_replica_of_another_glance_or_with_more_access_is_rejected(
    glance: FakeGlance, catalog: Engine, mirror_of: MirrorOf
) -> None:
    glance.put(glance_image(1))
    mirror_of(glance, is_admin=True).sync(full=True)
    glance.remove(1)
    with running_glance() as other:
        for rejected, full in product((mirror_of(glance), mirror_of(other, is_admin=True)), (True, False)):
            with pytest.raises(UpstreamMismatch):
                rejected.sync(full=full)
    assert statuses(catalog) == {1: "ACTIVE"}


def test_sample_images_are_replaced(glance: FakeGlance, path: Path, catalog: Engine, mirror_of: MirrorOf) -> None:
    catalog_of(path.parent, image(1), image(2))
    mirror = mirror_of(glance, sample_ids=[image_id(1), image_id(2)])
    glance.put(glance_image(2))
    assert mirror.sync(full=True).counts == SyncCounts(1, 0, 0)
    assert stored(catalog) == {2: to_catalog_image(glance_image(2))}


# --- the recorded status ---


def test_sync_records_its_start_and_what_the_next_one_needs(
    glance: FakeGlance, catalog: Engine, clock: FakeClock, mirror: Mirror, sync: Sync
) -> None:
    glance.put(glance_image(1, updated_at=T1), glance_image(2, updated_at=T0), glance_image(3, name=5))
    glance.before[LIST_ALL] = lambda: clock.advance(0.25)
    assert mirror.last_full_sync is None
    sync(full=True)
    started = clock.time() - 0.25
    totals = {"full": SyncTotal(1, 0.25)}
    assert catalog.read_sync_status() == SyncStatus(
        started, started, "2020-01-01T00:08:59Z", images=3, failed={image_id(3): MALFORMED}, totals=totals
    )
    glance.put(glance_image(3), glance_image(4, updated_at=T2))
    sync()
    assert catalog.read_sync_status() == SyncStatus(
        clock.time(), started, BEFORE_T2, images=3, totals=totals | {"incremental": SyncTotal(1, 0)}
    )
    assert mirror.last_full_sync == started
    clock.advance(60)
    sync(full=True)
    status = SyncStatus(clock.time(), clock.time(), BEFORE_T2, images=4)
    totals = {"full": SyncTotal(2, 0.25), "incremental": SyncTotal(1, 0)}
    assert catalog.read_sync_status() == replace(status, totals=totals)


def lose_status(path: Path) -> None:
    SQLiteEngine(path).write_sync_status(SyncStatus())


def lose_changes_since(path: Path) -> None:
    catalog = SQLiteEngine(path)
    catalog.write_sync_status(replace(catalog.read_sync_status(), changes_since=None))


def lose_catalog(path: Path) -> None:
    for file in path.parent.glob("catalog.db*"):
        if not file.name.endswith("mirror"):
            file.unlink()


def replace_catalog(path: Path) -> None:
    lose_catalog(path)
    catalog_of(path.parent)


@pytest.mark.parametrize("lose", [lose_status, lose_changes_since, lose_catalog, replace_catalog])
def test_incremental_sync_becomes_full_without_its_start_time_or_its_replica(
    glance: FakeGlance, path: Path, catalog: Engine, sync: Sync, lose: Callable[[Path], None]
) -> None:
    glance.put(glance_image(1), glance_image(2))
    sync(full=True)
    glance.remove(1)
    lose(path)
    assert sync().is_full
    assert (glance.take_requests()[:2], statuses(catalog)[2]) == ([LIST_ALL, LIST_ALL], "ACTIVE")
    assert not sync().is_full


def test_syncs_are_full_until_glance_has_an_image_even_after_a_restart(glance: FakeGlance, mirror_of: MirrorOf) -> None:
    assert [mirror_of(glance).sync(full=False).is_full for _ in range(2)] == [True, True]
    glance.put(glance_image(1, updated_at=T1))
    assert [mirror_of(glance).sync(full=False).is_full for _ in range(2)] == [True, False]
    assert glance.take_requests() == [*[LIST_ALL] * 3, list_since(BEFORE_T1)]
