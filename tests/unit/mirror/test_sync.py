"""Passes over an image service: what they ask for, what they make of it, and what they remember."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.catalog import replica as upstream
from app.catalog.models import StoredImage, SyncCounts, SyncStatus, Upstream
from app.catalog.replica import CatalogNotEmpty, UpstreamMismatch, apply_delete, format_sync_status_reason
from app.catalog.sqlite.database import open_reader, transaction
from app.catalog.sqlite.reader import CatalogReader
from app.catalog.transfer import export_images
from app.mirror.client import UpstreamError
from app.mirror.mapping import to_catalog_image
from app.mirror.status import read_sync_status, write_sync_status
from app.mirror.sync import Mirror, SyncFailed, SyncReport
from tests.support.clock import Clock, told_to_copies
from tests.support.fake_glance import NOTHING, SILENCE, Said, Stand, glance_at, glance_image, standing
from tests.support.images import catalog_of, image, image_id, records_of

ME, YOU = "1" * 32, "2" * 32
ALL = "GET /v2/images?limit=1000&visibility=all"
CHECK = "GET /v2/images?limit=1"
T0, T1, T2 = "2020-01-01T00:00:00Z", "2020-01-01T00:10:00Z", "2020-01-01T00:20:00Z"
BEFORE_T1 = "2019-12-31T23:59:00Z", "2020-01-01T00:09:00Z"  # a minute before


def since(time: str) -> str:
    return f"{ALL}&updated_at=gte%3A{time.replace(':', '%3A')}"


def one(number: int) -> str:
    return f"GET /v2/images/{image_id(number)}"


def members(number: int) -> str:
    return f"{one(number)}/members"


shared = partial(glance_image, visibility="shared")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return told_to_copies(monkeypatch)


@pytest.fixture
def stand() -> Iterator[Stand]:
    with standing() as stand:
        yield stand


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def mirror(stand: Stand, catalog: Path) -> Mirror:
    return mirror_of(stand, catalog)


def mirror_of(stand: Stand, catalog: Path, *, is_admin: bool = False) -> Mirror:
    return Mirror(
        lambda: glance_at(stand.url, answer_in=0.5, is_admin=is_admin),
        catalog,
        tombstone_days=30,
        replaceable=[],
        watch=lambda pages, _: pages,
    )


Pass = Callable[..., SyncReport]


@pytest.fixture
def make_pass(mirror: Mirror, clock: Clock) -> Pass:
    """Give a function that makes a pass, a second after what was done before."""

    def make(*, whole: bool = False) -> SyncReport:
        clock.tick()
        return mirror.make_pass(whole=whole)

    return make


def stored(catalog: Path) -> list[StoredImage]:
    return list(export_images(catalog, deleted=True))


def states(catalog: Path) -> dict[int, str]:
    return {int(record.id[-12:]): record.status for record in stored(catalog)}


def member_lists(catalog: Path) -> dict[int, Any]:
    return {int(record.id[-12:]): orjson.loads(record.members) for record in stored(catalog)}


def reasons(catalog: Path) -> dict[int, str | None]:
    """Give why images could not be copied, of those that are there."""
    return {
        int(record.id[-12:]): orjson.loads(record.metadata).get("sync_status_reason")
        for record in export_images(catalog)
    }


# --- whole passes ---


def test_a_whole_pass_copies_all_images(stand: Stand, catalog: Path, clock: Clock, make_pass: Pass) -> None:
    images = glance_image(1, a="b"), glance_image(2, visibility="private", owner=ME), shared(3, owner=ME)
    stand.put(*images)
    stand.share(3, **{YOU: "accepted", ME: "pending"})
    assert make_pass(whole=True) == SyncReport(True, 3, SyncCounts(3, 0, 0), failed={}, seconds=0)
    expected = [to_catalog_image(images[0]), to_catalog_image(images[1]), to_catalog_image(images[2], [YOU])]
    assert sorted(stored(catalog)) == sorted(expected)
    assert CatalogReader(catalog).upstream() == Upstream(stand.url, is_admin=False, good=clock.time(), turn=1)


def test_a_whole_pass_asks_for_pages_and_for_the_members_of_shared_images(stand: Stand, make_pass: Pass) -> None:
    kinds = enumerate(["public", "shared", "private", "community", "shared"], 1)
    stand.put(*(glance_image(number, visibility=kind) for number, kind in kinds))
    stand.page = 3
    for _ in range(2):
        make_pass(whole=True)
        asked = stand.asked
        assert asked[:2] == [ALL, f"{ALL}&marker={image_id(3)}"]
        assert sorted(asked[2:]) == [members(2), members(5)]


def test_a_copy_is_an_administrators_where_the_mirror_is_one(stand: Stand, catalog: Path) -> None:
    stand.put(glance_image(1))
    mirror_of(stand, catalog, is_admin=True).make_pass(whole=True)
    stand.drop(1)
    for whole in (True, False):
        with pytest.raises(UpstreamMismatch):
            mirror_of(stand, catalog).make_pass(whole=whole)
    assert states(catalog) == {1: "ACTIVE"}


def test_images_come_into_the_catalog_in_glances_order(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.page = 2
    stand.put(*(glance_image(number, created_at=f"202{number}-01-01T00:00:00Z") for number in (3, 1, 5, 2, 4)))
    make_pass(whole=True)
    assert list(states(catalog)) == [5, 4, 3, 2, 1]


def test_images_whose_members_come_late_keep_their_place(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(shared(1), glance_image(2), shared(3), glance_image(4))
    last = threading.Event()
    stand.meanwhile = {members(1): last.set, members(3): partial(last.wait, 5)}
    make_pass(whole=True)
    assert list(states(catalog)) == [4, 3, 2, 1]


def test_an_image_that_comes_twice_is_one(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.says[ALL] = Said(200, {"images": [glance_image(1), glance_image(2), glance_image(1, name="again")]})
    assert make_pass(whole=True).images == 2
    assert [(record.id[-1], record.name) for record in stored(catalog)] == [("1", "again"), ("2", None)]


def test_a_whole_pass_finds_out_what_is_gone_and_whom_images_are_shared_with(
    stand: Stand, catalog: Path, make_pass: Pass
) -> None:
    stand.put(glance_image(1), glance_image(2), shared(3))
    make_pass(whole=True)
    stand.drop(1)
    stand.put(glance_image(2, os_hidden=True))
    stand.share(3, **{ME: "accepted"})
    assert make_pass(whole=True).copied == SyncCounts(new=0, changed=1, deleted=2)
    assert states(catalog) == {3: "ACTIVE", 2: "DELETED", 1: "DELETED"}
    assert member_lists(catalog)[3] == [ME]


def test_a_pass_that_finds_nothing_new_leaves_the_file_alone(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(glance_image(1, a="b"), shared(2), shared(3), glance_image(4, min_disk="x"))
    stand.share(2, **{ME: "accepted"})
    make_pass(whole=True)
    stand.says[members(3)] = Said(500)
    make_pass(whole=True)
    with closing(open_reader(catalog)) as db:
        (version,) = db.execute("PRAGMA data_version").fetchone()
        assert [make_pass(whole=whole).copied for whole in (True, False, True)] == [SyncCounts(0, 0, 0)] * 3
        assert db.execute("PRAGMA data_version").fetchone() == (version,)


def test_who_watches_is_told_how_many_images_there_were(stand: Stand, catalog: Path) -> None:
    watched = []

    def watch(pages: Any, expected: int) -> Iterator[list[Any]]:
        for page in pages:
            watched.append((len(page), expected))
            yield page

    mirror = Mirror(lambda: glance_at(stand.url), catalog, tombstone_days=30, replaceable=[], watch=watch)
    stand.page = 2
    stand.put(*(glance_image(number) for number in (1, 2, 3)))
    for whole in (True, False, True):
        mirror.make_pass(whole=whole)
    assert watched == [(2, 0), (1, 0), (2, 3), (1, 3)]


# --- passes over what changed ---


def test_what_changed_is_asked_for_with_a_minute_to_spare(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(glance_image(1, updated_at=T1), glance_image(2, updated_at=T0))
    make_pass(whole=True)
    stand.put(glance_image(2, updated_at=T2, name="new"), glance_image(3, updated_at=T2))
    assert (stand.asked, make_pass()) == ([ALL], SyncReport(False, 3, SyncCounts(1, 1, 0), failed={}, seconds=0))
    make_pass()
    assert stand.asked == [since("2020-01-01T00:09:00Z"), since("2020-01-01T00:19:00Z")]
    assert {record.id: record.name for record in stored(catalog)}[image_id(2)] == "new"


def test_what_changed_while_a_pass_went_on_is_asked_for_by_the_next(
    stand: Stand, clock: Clock, make_pass: Pass
) -> None:
    stand.put(glance_image(1, updated_at=T1))
    stand.meanwhile[ALL] = lambda: clock.tick(100.5)
    assert make_pass(whole=True).seconds == 100.5
    make_pass()
    assert stand.asked == [ALL, since("2020-01-01T00:07:19Z")]


@pytest.mark.parametrize("later", [0, 1, 86_400])
def test_a_time_that_is_still_to_come_is_not_waited_for(
    stand: Stand, clock: Clock, make_pass: Pass, later: float
) -> None:
    stand.put(glance_image(1, updated_at=clock.now(later=1 + later)))
    make_pass(whole=True)
    began = clock.now(later=-60)
    make_pass()
    assert stand.asked == [ALL, since(began)]


def test_a_pass_that_meets_nothing_asks_the_same_again(stand: Stand, make_pass: Pass) -> None:
    stand.put(glance_image(1, updated_at=T1), glance_image(2, updated_at=T0))
    make_pass(whole=True)
    stand.drop(1)
    for _ in range(2):
        assert make_pass().images == 0
    assert stand.asked == [ALL, *[since("2020-01-01T00:09:00Z")] * 2]


def test_what_changed_is_asked_for_page_by_page(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(glance_image(1, updated_at=T0))
    make_pass(whole=True)
    stand.page = 1
    stand.put(glance_image(2, updated_at=T0), glance_image(3, updated_at=T0))
    assert make_pass().copied == SyncCounts(new=2, changed=0, deleted=0)
    query = since("2019-12-31T23:59:00Z")
    assert stand.asked == [ALL, query, f"{query}&marker={image_id(3)}", f"{query}&marker={image_id(2)}"]


def test_what_was_deleted_is_not_found_out_but_by_a_whole_pass(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(glance_image(1), glance_image(2))
    make_pass(whole=True)
    stand.drop(1)
    assert [make_pass().copied.deleted, states(catalog)[1]] == [0, "ACTIVE"]
    assert [make_pass(whole=True).copied.deleted, states(catalog)[1]] == [1, "DELETED"]


@pytest.mark.parametrize("whole", [True, False])
def test_an_image_that_waits_for_its_end_is_gone(stand: Stand, catalog: Path, make_pass: Pass, whole: bool) -> None:
    stand.put(glance_image(1), glance_image(2))
    make_pass(whole=True)
    stand.put(glance_image(1, status="pending_delete"), glance_image(3, status="deleted"))
    assert make_pass(whole=whole).copied == SyncCounts(new=0, changed=0, deleted=1)
    assert states(catalog) == {2: "ACTIVE", 1: "DELETED"}


@pytest.mark.parametrize("whole", [True, False])
def test_what_was_learned_while_a_pass_went_on_stays(stand: Stand, catalog: Path, make_pass: Pass, whole: bool) -> None:
    stand.put(glance_image(1), shared(2))
    make_pass(whole=True)
    stand.put(glance_image(1, name="new"), shared(2, name="new"))
    stand.meanwhile[members(2)] = lambda: apply_delete(catalog, stand.url, image_id(1), tombstone_days=30)
    assert make_pass(whole=whole).copied == SyncCounts(new=0, changed=1, deleted=0)
    assert states(catalog) == {2: "ACTIVE", 1: "DELETED"}


# --- members ---


def test_members_are_asked_for_where_a_shared_image_is_new_or_changed(
    stand: Stand, catalog: Path, make_pass: Pass
) -> None:
    stand.put(shared(1), shared(2), glance_image(3, visibility="private"), shared(4), glance_image(5))
    for number in (1, 2, 4):
        stand.share(number, **{ME: "accepted"})
    make_pass(whole=True)
    stand.put(shared(2, name="new"), shared(3), glance_image(4, visibility="private"), shared(6))
    for number in (1, 2, 3, 6):
        stand.share(number, **{YOU: "accepted"})
    stand.requests.clear()
    make_pass()
    asked = stand.asked
    assert (asked[0], sorted(asked[1:])) == (since(BEFORE_T1[0]), [members(2), members(3), members(6)])
    assert member_lists(catalog) == {1: [ME], 2: [YOU], 3: [YOU], 4: [], 5: [], 6: [YOU]}


def test_members_are_not_asked_for_again_once_an_image_was_copied_again(
    stand: Stand, catalog: Path, make_pass: Pass
) -> None:
    stand.put(shared(1))
    stand.share(1, **{ME: "accepted"})
    make_pass(whole=True)
    stand.says[members(1)] = Said(500)
    make_pass(whole=True)
    stand.says.clear()
    make_pass()
    before = stored(catalog)
    assert before[0].updated > T0
    stand.requests.clear()
    make_pass()
    assert (stand.asked, stored(catalog)) == ([since(BEFORE_T1[0])], before)


def test_members_are_asked_for_of_an_image_that_changed_in_nothing_else(
    stand: Stand, catalog: Path, make_pass: Pass
) -> None:
    stand.put(shared(1))
    make_pass(whole=True)
    stand.put(shared(1, updated_at=T1))
    stand.share(1, **{ME: "accepted"})
    make_pass()
    assert member_lists(catalog) == {1: [ME]}


def test_members_are_asked_for_eight_at_a_time(stand: Stand, make_pass: Pass) -> None:
    stand.put(*(shared(number) for number in range(16)))
    eight = threading.Barrier(8, timeout=5)
    stand.meanwhile = {members(number): eight.wait for number in range(16)}
    assert make_pass(whole=True).failed == {}


def test_an_image_that_is_gone_when_its_members_are_asked_for_is_gone(
    stand: Stand, catalog: Path, make_pass: Pass
) -> None:
    stand.put(shared(1), shared(2))
    make_pass(whole=True)
    stand.put(shared(1, name="new"), shared(3))
    for number in (1, 3):
        stand.meanwhile[members(number)] = partial(stand.drop, number)
    report = make_pass()
    assert (report.copied, report.failed) == (SyncCounts(new=0, changed=0, deleted=1), {})
    assert states(catalog) == {2: "ACTIVE", 1: "DELETED"}


# --- images that cannot be copied ---

BROKEN_MEMBERS: dict[str, tuple[Said, str, str]] = {
    "an error": (Said(500), "An answer with status 500", ""),
    "a refusal": (Said(403), "An answer with status 403", ""),
    "silence": (SILENCE, "A timeout", r" \(Request to http://.* timed out\)"),
    "the end of the connection": (NOTHING, "A failure of the connection", r" \(Unable to establish connection to .*\)"),
    "HTML": (Said(200, b"<html>"), "A malformed answer", r" \(unexpected character.*\)"),
    "another document": (Said(200, {"members": [{}]}), "A malformed answer", r" \('(status|member_id)'\)"),
    "a member that is no project": (
        Said(200, {"members": [{"member_id": "me", "status": "accepted"}]}),
        "A malformed image",
        r' \(members\[0\]: "me" does not match .*\)',
    ),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("said", "what", "detail"), BROKEN_MEMBERS.values(), ids=BROKEN_MEMBERS)
def test_an_image_whose_members_cannot_be_had_stops_no_other(  # noqa: PLR0913, PLR0917 each of them matters
    stand: Stand, catalog: Path, make_pass: Pass, said: Said, what: str, detail: str, whole: bool
) -> None:
    stand.put(shared(1), shared(2), glance_image(3))
    stand.share(1, **{ME: "accepted"})
    make_pass(whole=True)
    stand.put(*(glance | {"name": "new"} for glance in (shared(1), shared(2), glance_image(3))))
    stand.says[members(1)] = said
    report = make_pass(whole=whole)
    assert (report.images, report.copied) == (3, SyncCounts(new=0, changed=3, deleted=0))
    assert list(report.failed) == [image_id(1)]
    assert re.fullmatch(f"{what}{detail}", report.failed[image_id(1)])
    assert reasons(catalog) == {1: format_sync_status_reason(what, stand.url, image_id(1)), 2: None, 3: None}
    assert {int(record.id[-1]): record.name for record in stored(catalog)} == {1: None, 2: "new", 3: "new"}
    assert member_lists(catalog)[1] == [ME]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("visibility", ["private", "shared", "public"])
def test_an_image_that_cannot_be_copied_is_shown_to_whom_it_is_for_now(
    stand: Stand, catalog: Path, make_pass: Pass, visibility: str, whole: bool
) -> None:
    stand.put(shared(1), shared(2))
    for number in (1, 2):
        stand.share(number, **{ME: "accepted"})
    make_pass(whole=True)
    stand.put(*(glance_image(number, visibility=visibility, owner=YOU, name=5) for number in (1, 2)))
    stand.put(glance_image(2, visibility=visibility, owner=YOU, name="new"))
    stand.says[members(2)] = Said(500)
    make_pass(whole=whole)
    seen = [(record.owner, record.visibility) for record in stored(catalog)]
    assert seen == [(YOU, visibility)] * 2
    assert member_lists(catalog)[1] == ([ME] if visibility == "shared" else [])
    assert reasons(catalog)[1] == format_sync_status_reason("A malformed image", stand.url, image_id(1))


@pytest.mark.parametrize("whole", [True, False])
def test_an_image_that_the_contract_does_not_have_stops_no_other(
    stand: Stand, catalog: Path, make_pass: Pass, whole: bool
) -> None:
    stand.put(glance_image(1, name="old"), glance_image(2))
    make_pass(whole=True)
    stand.put(glance_image(1, name=5), glance_image(2, name="new"), glance_image(3, name=5))
    report = make_pass(whole=whole)
    assert (report.images, report.copied) == (3, SyncCounts(new=0, changed=2, deleted=0))
    why = 'A malformed image (name: 5 is not of types "null", "string")'
    assert list(report.failed.items()) == [(image_id(3), why), (image_id(1), why)]
    assert reasons(catalog) == {1: format_sync_status_reason("A malformed image", stand.url, image_id(1)), 2: None}
    assert {record.name for record in stored(catalog)} == {"old", "new"}


def test_an_image_whose_id_is_none_stops_no_other(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(glance_image(1))
    stand.images["x"] = glance_image(2) | {"id": "x"}
    report = make_pass(whole=True)
    assert (report.copied, list(report.failed)) == (SyncCounts(1, 0, 0), ["x"])


def test_a_failed_image_is_asked_for_again_until_it_is_copied(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(shared(1, updated_at=T0), glance_image(2, updated_at=T1))
    stand.says[members(1)] = Said(500)
    make_pass(whole=True)
    for _ in range(2):
        assert list(make_pass().failed) == [image_id(1)]
    del stand.says[members(1)]
    assert make_pass().copied == SyncCounts(new=1, changed=0, deleted=0)
    make_pass()
    query = since("2020-01-01T00:09:00Z")
    assert stand.asked == [ALL, members(1), *[query, one(1), members(1)] * 3, query]


def test_a_failed_image_that_changed_is_asked_for_once(stand: Stand, make_pass: Pass) -> None:
    stand.put(shared(1), glance_image(2))
    stand.says[members(1)] = Said(500)
    make_pass(whole=True)
    make_pass()
    assert stand.asked == [ALL, members(1), since(BEFORE_T1[0]), members(1)]


def test_a_failed_image_is_a_change_when_it_fails_and_when_it_is_copied_again(
    stand: Stand, catalog: Path, clock: Clock, make_pass: Pass
) -> None:
    stand.put(shared(1, updated_at=T0), glance_image(2, updated_at=T1))
    make_pass(whole=True)
    stand.says[members(1)] = Said(500)
    updated = []
    for whole in (True, False, False, True):
        make_pass(whole=whole)
        updated.append({record.id[-1]: record.updated for record in stored(catalog)}["1"] == clock.now())
    del stand.says[members(1)]
    for _ in range(2):
        make_pass()
        updated.append({record.id[-1]: record.updated for record in stored(catalog)}["1"] == clock.now())
    assert updated == [True, False, False, False, True, False]
    assert reasons(catalog) == {1: None, 2: None}


@pytest.mark.parametrize("said", [Said(500), Said(403), SILENCE, NOTHING, Said(200, b"<html>"), Said(200, [])], ids=str)
def test_a_failed_image_that_cannot_even_be_shown_stops_no_other(
    stand: Stand, catalog: Path, make_pass: Pass, said: Said
) -> None:
    stand.put(glance_image(1, updated_at=T0), glance_image(2, updated_at=T1))
    make_pass(whole=True)
    stand.put(glance_image(1, updated_at=T0, name=5))
    make_pass(whole=True)
    stand.says[one(1)] = said
    stand.put(glance_image(2, updated_at=T2, name="new"))
    report = make_pass()
    assert (report.images, list(report.failed)) == (2, [image_id(1)])
    assert {record.name for record in stored(catalog)} == {None, "new"}
    what = report.failed[image_id(1)].partition(" (")[0]
    assert reasons(catalog) == {1: format_sync_status_reason(what, stand.url, image_id(1)), 2: None}


@pytest.mark.parametrize("end", ["dropped", "hidden", "pending_delete"])
def test_a_failed_image_that_is_gone_when_it_is_asked_for_again_is_gone(
    stand: Stand, catalog: Path, make_pass: Pass, end: str
) -> None:
    stand.put(glance_image(1, updated_at=T0), glance_image(2, updated_at=T1))
    make_pass(whole=True)
    stand.put(glance_image(1, updated_at=T0, name=5))
    make_pass(whole=True)
    match end:
        case "dropped":
            stand.drop(1)
        case "hidden":
            stand.put(glance_image(1, updated_at=T0, os_hidden=True))
        case _:
            stand.put(glance_image(1, updated_at=T0, status=end))
    report = make_pass()
    assert (report.copied, report.failed) == (SyncCounts(new=0, changed=0, deleted=1), {})
    assert (states(catalog), read_sync_status(catalog).failed) == ({2: "ACTIVE", 1: "DELETED"}, ())


# --- when it is doubted that anything can be had ---


def test_a_glance_is_doubted_after_five_failures_in_a_row(stand: Stand, make_pass: Pass) -> None:
    stand.put(*(shared(number) for number in range(12)))
    stand.says = {members(number): Said(503) for number in range(12)}
    assert len(make_pass(whole=True).failed) == 12
    asked = stand.asked
    assert asked.index(CHECK) > 5
    assert sorted(asked) == sorted([ALL, CHECK, CHECK, *(members(number) for number in range(12))])


def test_a_glance_that_is_doubted_rightly_fails_the_pass(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(*(shared(number) for number in range(12)))
    make_pass(whole=True)
    before = stored(catalog)
    stand.says = {members(number): Said(503) for number in range(12)} | {CHECK: Said(503)}
    with pytest.raises(SyncFailed, match=r"^An answer with status 503 occurred at the image service$"):
        make_pass(whole=True)
    assert stored(catalog) == before


def test_a_glance_that_is_doubted_rightly_is_asked_no_more(stand: Stand, make_pass: Pass) -> None:
    stand.put(*(shared(number) for number in range(100)))
    stand.says = {members(number): Said(503) for number in range(95, 100)}
    stand.says |= {members(number): SILENCE for number in range(95)} | {CHECK: Said(503)}
    with pytest.raises(SyncFailed):
        make_pass(whole=True)
    assert len(stand.asked) <= 1 + 5 + 8 + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("survey")]


def test_failed_images_that_are_asked_for_again_in_vain_are_a_doubt_too(stand: Stand, make_pass: Pass) -> None:
    stand.put(glance_image(9), *(glance_image(number, name=5, updated_at="x") for number in range(5)))
    make_pass(whole=True)
    stand.put(*(glance_image(number) for number in range(5)))
    stand.says = {one(number): Said(503) for number in range(5)}
    for number in range(5):
        del stand.images[image_id(number)]
    make_pass()
    assert stand.asked.count(CHECK) == 1


def test_failures_that_are_not_in_a_row_are_no_doubt(stand: Stand, make_pass: Pass) -> None:
    stand.put(*(shared(number) for number in range(10)))
    stand.says = {members(number): Said(503) for number in range(10) if number != 5}
    make_pass(whole=True)
    assert stand.asked.count(CHECK) == 1  # for the five after it, and not for the four before
    del stand.says[members(2)]
    make_pass(whole=True)
    assert CHECK not in stand.asked


def test_images_that_are_not_asked_for_are_no_trust(stand: Stand, make_pass: Pass) -> None:
    stand.put(*(glance_image(number, visibility="shared" if number % 2 else "public") for number in range(10)))
    stand.says = {members(number): Said(503) for number in range(10)}
    assert len(make_pass(whole=True).failed) == 5
    assert CHECK in stand.asked


def test_images_that_are_not_asked_for_are_no_doubt(stand: Stand, make_pass: Pass) -> None:
    stand.put(*(glance_image(number, name=5) for number in range(12)))
    assert len(make_pass(whole=True).failed) == 12
    assert stand.asked == [ALL]


# --- lists that change meanwhile ---


@pytest.mark.parametrize("whole", [True, False])
def test_a_list_is_begun_anew_when_the_last_image_of_a_page_is_gone(
    stand: Stand, catalog: Path, make_pass: Pass, whole: bool
) -> None:
    stand.put(*(glance_image(number) for number in range(5)))
    make_pass(whole=True)
    stand.page = 2
    stand.put(*(glance_image(number, name="new") for number in range(5)))
    first = ALL if whole else since(BEFORE_T1[0])
    stand.meanwhile[f"{first}&marker={image_id(3)}"] = partial(stand.drop, 3)
    stand.requests.clear()
    assert make_pass(whole=whole).images == 4
    rest = [f"{first}&marker={image_id(2)}"]
    assert stand.asked == [first, f"{first}&marker={image_id(3)}", first, *rest]
    assert states(catalog)[3] == ("DELETED" if whole else "ACTIVE")


def test_a_list_is_begun_five_times_at_most(stand: Stand, make_pass: Pass) -> None:
    stand.page = 1
    stand.put(glance_image(1), glance_image(2))
    stand.says[f"{ALL}&marker={image_id(2)}"] = Said(400)
    with pytest.raises(SyncFailed, match=r"^An answer with status 400 occurred at the image service"):
        make_pass(whole=True)
    assert stand.asked == [ALL, f"{ALL}&marker={image_id(2)}"] * 5


# --- passes that fail ---

PAGES: dict[str, tuple[Said, str]] = {
    "an error": (Said(500), "An answer with status 500"),
    "a refusal": (Said(401), "An answer with status 401"),
    "nothing there": (Said(404), "An answer with status 404"),
    "another place": (Said(302, b"", (("Location", "/v2/images/"),)), "An answer with status 302"),
    "silence": (SILENCE, "A timeout"),
    "the end of the connection": (NOTHING, "A failure of the connection"),
    "HTML": (Said(200, b"<html>"), "A malformed answer"),
    "no images": (Said(200, {}), "A malformed page"),
    "images that are none": (Said(200, {"images": [5]}), "A malformed page"),
    "an image without an id": (Said(200, {"images": [glance_image(1), {"name": "a"}]}), "A malformed page"),
    "an image whose id is a number": (Said(200, {"images": [{"id": 5}]}), "A malformed page"),
    "a page after it that is the first": (
        Said(200, {"images": [], "next": "/v2/images?limit=1000"}),
        "A malformed page",
    ),
}


@pytest.mark.parametrize(("said", "what"), PAGES.values(), ids=PAGES)
def test_a_pass_that_fails_leaves_the_catalog_as_it_was(
    stand: Stand, catalog: Path, make_pass: Pass, said: Said, what: str
) -> None:
    stand.put(glance_image(1, updated_at=T1), shared(2))
    make_pass(whole=True)
    before, passes = stored(catalog), read_sync_status(catalog)
    stand.says[ALL] = said
    with pytest.raises(SyncFailed, match=f"^{what} occurred at the image service"):
        make_pass(whole=True)
    assert stored(catalog) == before
    assert read_sync_status(catalog) == SyncStatus(
        good=passes.good,
        whole=passes.whole,
        since="2020-01-01T00:09:00Z",
        images=2,
        error=f"{what} occurred at the image service",
    )
    del stand.says[ALL]
    make_pass(whole=True)
    assert read_sync_status(catalog).error is None


def test_a_later_page_that_fails_fails_the_pass(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.page = 1
    stand.put(glance_image(1), glance_image(2))
    stand.says[f"{ALL}&marker={image_id(2)}"] = Said(500)
    with pytest.raises(SyncFailed):
        make_pass(whole=True)
    assert not catalog.exists()


def test_a_cloud_that_cannot_be_asked_where_its_glance_is_fails_the_pass(catalog: Path) -> None:
    def connect() -> Any:
        raise UpstreamError("A failure of the connection") from OSError("refused")

    mirror = Mirror(connect, catalog, tombstone_days=30, replaceable=[], watch=lambda pages, _: pages)
    with pytest.raises(SyncFailed, match=r"^A failure of the connection occurred at the image service: refused$"):
        mirror.make_pass(whole=True)
    assert read_sync_status(catalog) == SyncStatus(error="A failure of the connection occurred at the image service")


def test_a_catalog_that_others_write_to_fails_the_pass(
    stand: Stand, catalog: Path, make_pass: Pass, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pass(whole=True)
    monkeypatch.setattr(upstream, "transaction", partial(transaction, patience=0.1))
    stand.put(glance_image(1))
    with (
        transaction(catalog),
        pytest.raises(SyncFailed, match=r"^The catalog is being changed by others; try again later\.$"),
    ):
        make_pass(whole=True)
    assert read_sync_status(catalog).error == "The catalog could not be written"
    assert make_pass(whole=True).copied == SyncCounts(1, 0, 0)


@pytest.mark.parametrize("whole", [True, False])
def test_a_catalog_that_cannot_be_read_fails_the_pass(
    stand: Stand, catalog: Path, make_pass: Pass, whole: bool
) -> None:
    stand.put(glance_image(1))
    make_pass(whole=True)
    catalog.write_bytes(b"no database" * 1000)
    with pytest.raises(SyncFailed, match=f"^{catalog}: file is not a database$"):
        make_pass(whole=whole)
    assert read_sync_status(catalog).error == "The catalog could not be written"


def test_passes_that_cannot_be_told_of_fail(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(glance_image(1))
    make_pass(whole=True)
    before = read_sync_status(catalog)
    catalog.with_name("catalog.db.mirror.new").mkdir()
    stand.put(glance_image(2))
    with pytest.raises(SyncFailed, match=f"^{catalog}.mirror: .*Is a directory"):
        make_pass(whole=True)
    assert (states(catalog), read_sync_status(catalog)) == ({1: "ACTIVE", 2: "ACTIVE"}, before)


@pytest.mark.parametrize("whole", [True, False])
def test_a_catalog_of_imported_images_becomes_no_copy(
    stand: Stand, catalog: Path, make_pass: Pass, whole: bool
) -> None:
    catalog_of(catalog.parent, image(1))
    with pytest.raises(CatalogNotEmpty):
        make_pass(whole=whole)
    assert stored(catalog) == records_of(image(1))


def test_a_copy_of_another_glance_stays_one(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    stand.put(glance_image(1))
    make_pass(whole=True)
    with standing() as other, pytest.raises(UpstreamMismatch):
        mirror_of(other, catalog).make_pass(whole=False)
    assert states(catalog) == {1: "ACTIVE"}


def test_images_that_are_replaceable_make_way(stand: Stand, catalog: Path) -> None:
    catalog_of(catalog.parent, image(1), image(2))
    mirror = Mirror(
        lambda: glance_at(stand.url),
        catalog,
        tombstone_days=30,
        replaceable=[image_id(1), image_id(2)],
        watch=lambda pages, _: pages,
    )
    stand.put(glance_image(2))
    assert mirror.make_pass(whole=True).copied == SyncCounts(1, 0, 0)
    assert stored(catalog) == [to_catalog_image(glance_image(2))]


# --- what is remembered ---


def test_a_pass_tells_when_it_began_and_what_the_next_has_to_know(
    stand: Stand, catalog: Path, clock: Clock, make_pass: Pass
) -> None:
    stand.put(glance_image(1, updated_at=T1), glance_image(2, updated_at=T0), glance_image(3, name=5))
    stand.meanwhile[ALL] = lambda: clock.tick(0.25)
    make_pass(whole=True)
    began = clock.time() - 0.25
    known = SyncStatus(began, began, "2020-01-01T00:08:59Z", images=3, failed=(image_id(3),))
    assert read_sync_status(catalog) == known
    stand.put(glance_image(3), glance_image(4, updated_at=T2))
    make_pass()
    assert read_sync_status(catalog) == SyncStatus(clock.time(), began, "2020-01-01T00:19:00Z", images=3)
    clock.tick(60)
    make_pass(whole=True)
    assert read_sync_status(catalog) == SyncStatus(clock.time(), clock.time(), "2020-01-01T00:19:00Z", images=4)


def test_when_the_last_whole_pass_began_is_known(stand: Stand, mirror: Mirror, clock: Clock, make_pass: Pass) -> None:
    stand.put(glance_image(1))
    assert mirror.last_whole is None
    make_pass(whole=True)
    began = clock.time()
    make_pass()
    assert mirror.last_whole == began


def forget_all(catalog: Path) -> None:
    catalog.with_name("catalog.db.mirror").unlink()


def forget_since(catalog: Path) -> None:
    write_sync_status(catalog, SyncStatus(good=read_sync_status(catalog).good, whole=read_sync_status(catalog).whole))


def remove_catalog(catalog: Path) -> None:
    for file in catalog.parent.glob("catalog.db*"):
        if not file.name.endswith("mirror"):
            file.unlink()


def replace_catalog(catalog: Path) -> None:
    remove_catalog(catalog)
    catalog_of(catalog.parent)


@pytest.mark.parametrize("lose", [forget_all, forget_since, remove_catalog, replace_catalog])
def test_all_images_are_gone_over_where_it_is_not_known_what_is_new(
    stand: Stand, catalog: Path, make_pass: Pass, lose: Callable[[Path], None]
) -> None:
    stand.put(glance_image(1), glance_image(2))
    make_pass(whole=True)
    stand.drop(1)
    lose(catalog)
    assert make_pass().is_whole
    assert (stand.asked, states(catalog)[2]) == ([ALL, ALL], "ACTIVE")
    assert not make_pass().is_whole


def test_another_mirror_goes_on_where_the_last_one_ended(stand: Stand, catalog: Path, clock: Clock) -> None:
    stand.put(glance_image(1, updated_at=T1))
    mirror_of(stand, catalog).make_pass(whole=True)
    clock.tick()
    assert not mirror_of(stand, catalog).make_pass(whole=False).is_whole
    assert stand.asked == [ALL, since("2020-01-01T00:09:00Z")]


def test_a_glance_without_images_is_gone_over_until_it_has_some(stand: Stand, catalog: Path, make_pass: Pass) -> None:
    assert [make_pass().is_whole, make_pass().is_whole] == [True, True]
    stand.put(glance_image(1))
    assert [make_pass().is_whole, make_pass().is_whole] == [True, False]
