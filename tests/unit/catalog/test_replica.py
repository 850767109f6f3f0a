"""A catalog that is a copy: what a pass over an image service changes, and what it leaves alone."""

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlite_utils import Database

from app.catalog import replica as upstream
from app.catalog.documents import load_sample
from app.catalog.models import ImageFailure, ImageFilters, StoredImage, SyncCounts, Upstream, UpstreamSnapshot
from app.catalog.replica import (
    CatalogNotEmpty,
    UpstreamMismatch,
    apply_delete,
    apply_snapshot,
    apply_update,
    format_sync_status_reason,
    insert_image,
    read_replica,
)
from app.catalog.sqlite.database import SchemaState, open_reader, schema_state, transaction
from app.catalog.sqlite.reader import CatalogReader
from app.catalog.sqlite.schema import MIGRATIONS
from app.catalog.tokens import add_token, list_tokens
from app.catalog.transfer import ImportIntoReplica, ensure_catalog, export_images, import_images
from app.errors import CatalogBusy, CatalogUnavailable
from tests.support.clock import Clock, told_to_copies
from tests.support.images import Fields, catalog_of, image, image_id, records_of

GLANCE, OTHER = "http://glance.test", "http://b.test"
ME = "11111111111111111111111111111111"
YOU = "22222222222222222222222222222222"
EARLIER, LATER = "2020-06-01T00:00:00Z", "2021-01-01T00:00:00Z"  # both before the clock's
WHAT, WHAT_ELSE = "A timeout", "A failure of the connection"
FAILED = ImageFailure(WHAT)
WHY, WHY_ELSE = (format_sync_status_reason(what, GLANCE, image_id(1)) for what in (WHAT, WHAT_ELSE))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return told_to_copies(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


Pass = Callable[..., SyncCounts]


def as_of_now(path: Path, clock: Clock, url: str = GLANCE, *, is_admin: bool = False) -> Upstream:
    """Give an image service as a pass knows it that begins now."""
    turn, _ = read_replica(path, url) or (0, {})
    return Upstream(url, is_admin, clock.time(), turn)


@pytest.fixture
def make_pass(path: Path, clock: Clock) -> Pass:
    """Give a function that brings the catalog to what a pass found, a second after what was done before."""

    def make(  # noqa: PLR0913 one for each thing that a pass finds
        *images: Fields,
        failed: Mapping[str, ImageFailure] | None = None,
        gone: Collection[str] | None = None,
        url: str = GLANCE,
        is_admin: bool = False,
        replaceable: Collection[str] = (),
        tombstone_days: int = 30,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> SyncCounts:
        clock.tick()
        found = UpstreamSnapshot(
            as_of_now(path, clock, url, is_admin=is_admin), records_of(*images), failed or {}, gone
        )
        meanwhile()
        return apply_snapshot(path, found, replaceable=replaceable, tombstone_days=tombstone_days)

    return make


def upstream_of(path: Path) -> Upstream:
    upstream = CatalogReader(path).upstream()
    assert upstream is not None
    return upstream


def stored(path: Path) -> list[StoredImage]:
    return list(export_images(path, deleted=True))


def states(path: Path) -> dict[int, str]:
    return {int(record.id[-12:]): record.status for record in stored(path)}


def only(path: Path) -> StoredImage:
    (record,) = stored(path)
    return record


def record_of(*arguments: Any, **fields: Any) -> StoredImage:
    (record,) = records_of(image(*arguments, **fields))
    return record


def metadata(path: Path) -> Any:
    return orjson.loads(only(path).metadata)


def since(path: Path, time: str) -> list[int]:
    found = CatalogReader(path).find(ME, ImageFilters(changes_since=time), at_most=1000)
    return [int(each.id[-12:]) for each in found.images]


# --- what a pass found ---


def test_a_catalog_is_brought_to_what_a_pass_found(path: Path, make_pass: Pass) -> None:
    assert make_pass(image(1), image(2), image(3)) == SyncCounts(new=3, changed=0, deleted=0)
    images = image(2), image(3, name="new", updated=LATER), image(4, visibility="shared", owner=ME, members=[YOU])
    assert make_pass(*images) == SyncCounts(new=1, changed=1, deleted=1)
    assert list(export_images(path)) == records_of(*images)


def test_images_of_other_ids_are_gone_where_all_were_gone_over(path: Path, make_pass: Pass) -> None:
    make_pass(image(1), image(2), image(3))
    assert make_pass(image(1), failed={image_id(2): FAILED}).deleted == 1
    assert states(path) == {1: "ACTIVE", 2: "ACTIVE", 3: "DELETED"}


def test_images_are_gone_that_were_found_to_be_where_some_were_gone_over(path: Path, make_pass: Pass) -> None:
    make_pass(image(1), image(2), image(3))
    assert make_pass(image(4), gone=[image_id(2), image_id(9)]) == SyncCounts(new=1, changed=0, deleted=1)
    assert states(path) == {1: "ACTIVE", 2: "DELETED", 3: "ACTIVE", 4: "ACTIVE"}


def test_what_is_gone_becomes_a_tombstone_of_now_once(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1, name="a", metadata={"b": "c"}))
    assert make_pass() == SyncCounts(new=0, changed=0, deleted=1)
    tombstone = record_of(1, name="a", metadata={"b": "c"}, status="DELETED", progress=0, updated=clock.now())
    assert only(path) == tombstone
    assert [make_pass(), make_pass(gone=[image_id(1)])] == [SyncCounts(0, 0, 0)] * 2
    assert only(path) == tombstone


def test_what_is_gone_may_come_back(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1))
    make_pass()
    gone = clock.now()
    assert make_pass(image(1)) == SyncCounts(new=0, changed=1, deleted=0)
    assert only(path) == record_of(1, updated=gone)
    clock.tick(1000 * 24 * 3600)
    make_pass(image(1), image(2))
    assert states(path) == {1: "ACTIVE", 2: "ACTIVE"}


def test_a_tombstone_is_purged_by_the_first_pass_after_its_days(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1))
    make_pass(tombstone_days=7)
    clock.tick(7 * 24 * 3600 - 2)
    make_pass(tombstone_days=7)
    assert states(path) == {1: "DELETED"}
    make_pass(tombstone_days=7)
    assert states(path) == {}


def test_an_image_keeps_its_place(path: Path, make_pass: Pass) -> None:
    make_pass(image(1), image(2), image(3))
    make_pass(image(4), image(2, name="new"), image(1))
    assert list(states(path)) == [1, 2, 3, 4]


@pytest.mark.parametrize("gone", [None, ()], ids=["whole", "of some"])
def test_a_pass_that_finds_nothing_new_leaves_the_file_alone(
    path: Path, make_pass: Pass, gone: Collection[str] | None
) -> None:
    images = image(1), image(2, visibility="shared", owner=ME, members=[YOU]), image(3, metadata={"a": "b"})
    make_pass(*images, image(4), image(5))
    make_pass(*images, failed={image_id(4): FAILED})
    before = path.read_bytes()
    with closing(open_reader(path)) as db:
        (version,) = db.execute("PRAGMA data_version").fetchone()
        assert make_pass(*images, failed={image_id(4): FAILED, image_id(5): FAILED}, gone=gone) == SyncCounts(0, 0, 0)
        assert db.execute("PRAGMA data_version").fetchone() == (version,)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("found", "updated"), [(EARLIER, LATER), (LATER, LATER), ("2022-01-01T00:00:00Z", "2022-01-01T00:00:00Z")]
)
def test_an_image_is_never_dated_back(path: Path, make_pass: Pass, found: str, updated: str) -> None:
    make_pass(image(1, updated=LATER))
    make_pass(image(1, name="new", updated=found))
    assert only(path) == record_of(1, name="new", updated=updated)


def test_a_tombstone_is_never_dated_back(path: Path, make_pass: Pass) -> None:
    make_pass(image(1, updated="2100-01-01T00:00:00Z"))
    make_pass()
    assert only(path).updated == "2100-01-01T00:00:00Z"


def test_a_pass_that_cannot_be_written_whole_changes_nothing(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1))
    clock.tick()
    bad = record_of(3)._replace(metadata="not json")
    with pytest.raises(CatalogUnavailable):
        apply_snapshot(
            path, UpstreamSnapshot(as_of_now(path, clock), [record_of(2), bad], gone=None), tombstone_days=30
        )
    assert states(path) == {1: "ACTIVE"}


# --- what was learned since the pass began ---


def test_what_was_learned_since_a_pass_began_stays(path: Path, make_pass: Pass) -> None:
    make_pass(image(1), image(2), image(3), image(4, metadata={"a": "1"}))

    def learn_all() -> None:
        now = upstream_of(path)
        apply_update(path, now, record_of(1, name="newer", updated=LATER))
        apply_delete(path, GLANCE, image_id(2), tombstone_days=30)
        apply_update(path, now, record_of(3, name="newer", updated=LATER))
        apply_update(path, now, record_of(4, metadata={"a": "2"}, updated=LATER))
        insert_image(path, GLANCE, record_of(5))
        insert_image(path, GLANCE, record_of(6))

    found = image(1), image(2), image(6, name="older")
    assert make_pass(*found, failed={image_id(4): FAILED}, meanwhile=learn_all) == SyncCounts(0, 0, 0)
    assert states(path) == {1: "ACTIVE", 2: "DELETED", 3: "ACTIVE", 4: "ACTIVE", 5: "ACTIVE", 6: "ACTIVE"}
    assert [record.name for record in stored(path)] == ["newer", None, "newer", None, None, None]
    assert orjson.loads(stored(path)[3].metadata) == {"a": "2"}


@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
def test_clocks_that_are_set_do_not_mix_up_what_came_first(
    path: Path, clock: Clock, make_pass: Pass, seconds: float
) -> None:
    def learn_both() -> None:
        clock.tick(seconds)
        apply_update(path, upstream_of(path), record_of(1, name="newer"))
        apply_delete(path, GLANCE, image_id(2), tombstone_days=30)

    make_pass(image(1), image(2))
    assert make_pass(image(1, name="older"), image(2), meanwhile=learn_both) == SyncCounts(0, 0, 0)
    clock.tick(-seconds)
    assert make_pass(image(1, name="newest"), image(2)) == SyncCounts(new=0, changed=2, deleted=0)
    assert [(record.name, record.status) for record in stored(path)] == [("newest", "ACTIVE"), (None, "ACTIVE")]


def test_each_time_that_something_is_learned_is_a_turn_of_its_own(path: Path, make_pass: Pass) -> None:
    steps: list[Callable[[], object]] = [
        lambda: make_pass(image(1)),
        lambda: make_pass(image(1), image(2), image(3)),
        lambda: make_pass(image(1, name="a"), image(2), image(3)),
        lambda: make_pass(image(1, name="a"), image(2)),
        lambda: make_pass(image(1, name="a"), failed={image_id(2): FAILED}),
        lambda: insert_image(path, GLANCE, record_of(4)),
        lambda: apply_update(path, upstream_of(path), record_of(1, name="b")),
        lambda: apply_delete(path, GLANCE, image_id(4), tombstone_days=30),
    ]
    turns = []
    for step in steps:
        step()
        turns.append(upstream_of(path).turn)
    assert turns == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_copy_tells_when_the_last_pass_began_that_found_something_new(
    path: Path, clock: Clock, make_pass: Pass
) -> None:
    times = []
    for images in ([], [image(1)], [image(1)], [image(1, name="a")], [], []):
        make_pass(*images, meanwhile=clock.tick)
        times.append(clock.time() - 1 - upstream_of(path).good)
    assert times == [0, 0, 2, 0, 0, 2]


def test_the_pass_after_it_has_the_last_word_again(path: Path, make_pass: Pass) -> None:
    make_pass(image(1), image(2))
    make_pass(image(1), image(2), meanwhile=lambda: apply_delete(path, GLANCE, image_id(2), tombstone_days=30))
    assert make_pass(image(2)) == SyncCounts(new=0, changed=1, deleted=1)
    assert states(path) == {1: "DELETED", 2: "ACTIVE"}


# --- images that cannot be copied ---


def test_an_image_that_cannot_be_copied_keeps_its_last_copy_which_says_why(
    path: Path, clock: Clock, make_pass: Pass
) -> None:
    make_pass(image(1, name="a", metadata={"b": "c"}, visibility="shared", owner=ME, members=[YOU]))
    assert make_pass(failed={image_id(1): FAILED}) == SyncCounts(new=0, changed=1, deleted=0)
    assert only(path) == record_of(
        1,
        name="a",
        metadata={"b": "c", "sync_status_reason": WHY},
        visibility="shared",
        owner=ME,
        members=[YOU],
        updated=clock.now(),
    )


def test_that_an_image_cannot_be_copied_is_a_change_once_for_each_reason(
    path: Path, clock: Clock, make_pass: Pass
) -> None:
    make_pass(image(1))
    times = []
    for what in (WHAT, WHAT, WHAT_ELSE, WHAT_ELSE):
        make_pass(failed={image_id(1): ImageFailure(what)})
        times.append((only(path).updated == clock.now(), metadata(path)))
    assert times == [
        (True, {"sync_status_reason": WHY}),
        (False, {"sync_status_reason": WHY}),
        (True, {"sync_status_reason": WHY_ELSE}),
        (False, {"sync_status_reason": WHY_ELSE}),
    ]


def test_that_an_image_can_be_copied_again_is_a_change_once(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1, metadata={"a": "b"}))
    make_pass(failed={image_id(1): FAILED})
    assert make_pass(image(1, metadata={"a": "b"})).changed == 1
    copied = clock.now()
    assert only(path) == record_of(1, metadata={"a": "b"}, updated=copied)
    assert make_pass(image(1, metadata={"a": "b"})).changed == 0
    assert only(path).updated == copied


OWN_REASONS: list[str | None] = [
    "theirs",
    "",
    None,
    format_sync_status_reason(WHAT, OTHER, image_id(1)),
    format_sync_status_reason(WHAT, GLANCE, image_id(2)),
    f"{format_sync_status_reason(WHAT, GLANCE, image_id(1))} ",
]
each_own_reason = pytest.mark.parametrize("reason", OWN_REASONS)


@each_own_reason
def test_a_reason_of_the_image_services_own_stays(path: Path, make_pass: Pass, reason: str | None) -> None:
    own = image(1, metadata={"sync_status_reason": reason})
    make_pass(own)
    assert make_pass(own) == SyncCounts(0, 0, 0)
    assert make_pass(failed={image_id(1): FAILED}) == SyncCounts(0, 0, 0)
    assert only(path) == record_of(1, metadata={"sync_status_reason": reason})


@each_own_reason
def test_that_a_reason_of_the_image_services_own_goes_is_a_change_of_then(
    path: Path, make_pass: Pass, reason: str | None
) -> None:
    make_pass(image(1, metadata={"sync_status_reason": reason}))
    make_pass(image(1, updated=EARLIER))
    assert only(path) == record_of(1, updated=EARLIER)


def test_a_reason_of_the_image_services_own_takes_the_place_of_ours(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1))
    make_pass(failed={image_id(1): FAILED})
    make_pass(image(1, metadata={"sync_status_reason": "theirs"}))
    assert only(path) == record_of(1, metadata={"sync_status_reason": "theirs"}, updated=clock.now())


def test_a_reason_of_ours_that_the_image_service_has_is_no_change_again_and_again(path: Path, make_pass: Pass) -> None:
    sent_back = image(1, metadata={"sync_status_reason": WHY})
    make_pass(sent_back)
    assert make_pass(sent_back) == SyncCounts(0, 0, 0)
    assert only(path) == record_of(1, metadata={"sync_status_reason": WHY})


def test_an_item_that_speaks_of_reasons_is_none(path: Path, make_pass: Pass) -> None:
    make_pass(image(1, metadata={"a": "sync_status_reason"}))
    make_pass(image(1))
    assert only(path) == record_of(1)
    make_pass(image(1, metadata={"a": "sync_status_reason"}))
    make_pass(failed={image_id(1): FAILED})
    assert metadata(path) == {"a": "sync_status_reason", "sync_status_reason": WHY}


SHARED: Fields = {"visibility": "shared", "owner": ME, "members": [YOU]}
AUDIENCES: dict[str, tuple[Fields, tuple[str | None, str] | None, Fields]] = {
    "unknown": (SHARED, None, SHARED),
    "as it was": (SHARED, (ME, "shared"), SHARED),
    "less": (SHARED, (ME, "private"), {"visibility": "private", "owner": ME, "members": []}),
    "more": (SHARED, (ME, "public"), {"visibility": "public", "owner": ME, "members": []}),
    "another owner": (SHARED, (YOU, "shared"), SHARED | {"owner": YOU}),
    "no owner": (SHARED, (None, "public"), {"visibility": "public", "members": []}),
    "shared now": ({"visibility": "public"}, (ME, "shared"), {"visibility": "shared", "owner": ME, "members": []}),
}


@pytest.mark.parametrize(("before", "audience", "after"), AUDIENCES.values(), ids=AUDIENCES)
def test_the_last_copy_of_an_image_is_shown_to_whom_it_is_for_now(  # noqa: PLR0913, PLR0917 each of them matters
    path: Path, clock: Clock, make_pass: Pass, before: Fields, audience: tuple[str | None, str] | None, after: Fields
) -> None:
    make_pass(image(1, **before))
    for _ in range(2):
        make_pass(failed={image_id(1): ImageFailure(WHAT, audience)})
    failed = clock.now(later=-1)
    assert only(path) == record_of(1, metadata={"sync_status_reason": WHY}, updated=failed, **after)


def test_whom_a_failed_image_is_for_is_brought_whatever_its_reason(path: Path, clock: Clock, make_pass: Pass) -> None:
    own: Fields = {"metadata": {"sync_status_reason": "theirs"}}
    make_pass(image(1, **own, **SHARED))
    make_pass(failed={image_id(1): ImageFailure(WHAT, (ME, "private"))})
    assert only(path) == record_of(1, **own, visibility="private", owner=ME, members=[])
    make_pass(image(1, **SHARED))
    make_pass(failed={image_id(1): FAILED})
    make_pass(failed={image_id(1): ImageFailure(WHAT, (ME, "private"))})
    assert (only(path).visibility, only(path).members) == ("private", "[]")


def test_why_an_image_could_not_be_copied_is_said_as_the_documentation_shows_it() -> None:
    assert format_sync_status_reason("A timeout", "http://glance.test", "1") == (
        "ERROR:A timeout occurred during synchronize image the server(http://glance.test <http://glance.test/> ) "
        "in the image operation. image_id=1"
    )


def test_a_reason_is_no_longer_than_an_item_of_metadata_may_be() -> None:
    url = "https://image.region-1.cloud.example.com:9292"
    assert len(format_sync_status_reason("An answer with status 503", url, image_id(1))) <= 255


def test_of_an_image_that_never_was_copied_there_is_nothing(path: Path, make_pass: Pass) -> None:
    assert make_pass(failed={image_id(1): FAILED}) == SyncCounts(0, 0, 0)
    assert stored(path) == []


def test_a_tombstone_is_no_copy_that_could_say_why_there_is_none(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1))
    make_pass()
    before = stored(path)
    assert make_pass(failed={image_id(1): FAILED}) == SyncCounts(0, 0, 0)
    assert stored(path) == before
    clock.tick(31 * 24 * 3600)
    make_pass()
    assert stored(path) == []


# --- what the catalog was before ---

SAMPLE = [record.id for record in load_sample()]


def test_the_first_pass_makes_a_catalog_a_copy(path: Path, make_pass: Pass) -> None:
    assert make_pass() == SyncCounts(0, 0, 0)
    assert upstream_of(path).url == GLANCE
    assert CatalogReader(catalog_of(path.parent / "other")).upstream() is None


def test_the_sample_makes_way_without_a_trace(path: Path, make_pass: Pass) -> None:
    ensure_catalog(path, load_sample)
    assert make_pass(image(1), replaceable=SAMPLE) == SyncCounts(new=1, changed=0, deleted=0)
    assert stored(path) == records_of(image(1))
    assert since(path, "2000-01-01T00:00:00Z") == [1]
    with closing(open_reader(path)) as db:
        assert db.execute("SELECT count(*) FROM listings").fetchone() == (1,)


@pytest.mark.parametrize("updated", [EARLIER, "2100-01-01T00:00:00Z"])
def test_so_do_tombstones_whatever_they_are_of(path: Path, make_pass: Pass, updated: str) -> None:
    import_images(
        path, records_of(image(1, status="DELETED", updated=updated), image(2, status="DELETED", updated=updated))
    )
    make_pass(image(2), replaceable=SAMPLE)
    assert stored(path) == records_of(image(2))


def test_a_sample_image_that_was_changed_makes_way_too(path: Path, make_pass: Pass) -> None:
    ensure_catalog(path, load_sample)
    import_images(path, [load_sample()[0]._replace(name="changed")])
    make_pass(replaceable=SAMPLE)
    assert stored(path) == []


def test_tokens_stay(path: Path, make_pass: Pass) -> None:
    ensure_catalog(path, load_sample)
    add_token(path, ME, is_admin=False, expires=None)
    make_pass(replaceable=SAMPLE)
    assert [token.tenant for token in list_tokens(path)] == [ME]


def test_a_catalog_of_imported_images_becomes_no_copy(path: Path, make_pass: Pass) -> None:
    ensure_catalog(path, load_sample)
    import_images(path, records_of(image(1)))
    before = stored(path)
    with pytest.raises(
        CatalogNotEmpty, match=f"^{path} has images that were imported; a copy needs a catalog of its own.$"
    ):
        make_pass(image(2), replaceable=SAMPLE)
    assert stored(path) == before
    assert CatalogReader(path).upstream() is None


def test_a_copy_of_one_image_service_becomes_none_of_another(path: Path, make_pass: Pass) -> None:
    make_pass(image(1))
    with pytest.raises(UpstreamMismatch, match=f"^{path} is a copy of {GLANCE}; a copy of {OTHER} needs a catalog"):
        make_pass(image(2), url=OTHER)
    assert upstream_of(path).url == GLANCE
    assert stored(path) == records_of(image(1))


def test_who_sees_less_does_not_go_on_with_a_copy_that_an_administrator_made(path: Path, make_pass: Pass) -> None:
    make_pass(image(1), image(2), is_admin=True)
    complaint = f"^{path} is a copy of {GLANCE}, as administrators see it; a copy of {GLANCE} needs a catalog of its"
    with pytest.raises(UpstreamMismatch, match=complaint):
        make_pass(image(1))
    assert upstream_of(path).is_admin
    assert stored(path) == records_of(image(1), image(2))
    assert make_pass(image(1), is_admin=True) == SyncCounts(new=0, changed=0, deleted=1)


def test_an_administrator_goes_on_with_a_copy_that_others_made(path: Path, make_pass: Pass) -> None:
    make_pass(image(1))
    assert make_pass(image(1), image(2), is_admin=True) == SyncCounts(new=1, changed=0, deleted=0)
    assert upstream_of(path).is_admin
    with pytest.raises(UpstreamMismatch):
        make_pass(image(1))


def test_what_fails_leaves_the_catalog_what_it_was(path: Path, clock: Clock) -> None:
    ensure_catalog(path, load_sample)
    bad = record_of(1)._replace(metadata="not json")
    with pytest.raises(CatalogUnavailable):
        apply_snapshot(path, UpstreamSnapshot(as_of_now(path, clock), [bad]), replaceable=SAMPLE, tombstone_days=30)
    assert [record.id for record in stored(path)] == SAMPLE
    assert CatalogReader(path).upstream() is None


def test_readers_see_the_sample_until_all_is_copied(
    path: Path, make_pass: Pass, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_catalog(path, load_sample)
    write = upstream.upsert_images  # type: ignore[attr-defined]
    seen: list[object] = []

    def write_and_look(*args: Any, **options: Any) -> tuple[int, int]:
        written: tuple[int, int] = write(*args, **options)
        seen.extend([[record.id for record in stored(path)], CatalogReader(path).upstream()])
        return written

    monkeypatch.setattr(upstream, "upsert_images", write_and_look)
    make_pass(image(1), replaceable=SAMPLE)
    assert seen == [SAMPLE, None]


@pytest.mark.parametrize("prune", [False, True])
def test_a_copy_takes_no_imports(path: Path, make_pass: Pass, prune: bool) -> None:
    make_pass(image(1))
    before = path.read_bytes()
    with pytest.raises(
        ImportIntoReplica, match=f"^{path} is a copy of {GLANCE}: what is imported needs a catalog of its"
    ):
        import_images(path, records_of(image(2)), prune=prune)
    assert path.read_bytes() == before


def test_a_copy_is_prepared_as_it_is(path: Path, make_pass: Pass) -> None:
    make_pass()
    assert ensure_catalog(path, load_sample) == 0
    assert stored(path) == []


def test_a_copy_that_came_first_is_prepared_as_it_is(path: Path, make_pass: Pass) -> None:
    def sample_too_late() -> list[StoredImage]:
        make_pass(image(1))
        return load_sample()

    assert ensure_catalog(path, sample_too_late) == 0
    assert stored(path) == records_of(image(1))


# --- single images ---


def test_what_a_copy_has_is_given_by_id(path: Path, make_pass: Pass) -> None:
    make_pass(image(1), image(2), image(3, name="a"))
    make_pass(image(1), image(3, name="a"))
    held = read_replica(path, GLANCE, [image_id(2), image_id(3), image_id(9)])
    assert held == (upstream_of(path).turn, {record.id: record for record in stored(path)[1:]})
    assert read_replica(path, GLANCE) == (upstream_of(path).turn, {})


def test_what_is_no_copy_of_an_image_service_gives_none(path: Path, make_pass: Pass) -> None:
    assert read_replica(path, GLANCE) is None
    assert not path.exists()
    assert read_replica(catalog_of(path.parent / "other", image(1)), GLANCE, [image_id(1)]) is None
    make_pass(image(1))
    assert read_replica(path, OTHER, [image_id(1)]) is None


def test_an_image_is_learned_that_the_catalog_lacks(path: Path, make_pass: Pass) -> None:
    make_pass(image(1))
    insert_image(path, GLANCE, record_of(2, name="a", owner=ME, visibility="private"))
    assert stored(path)[1:] == records_of(image(2, name="a", owner=ME, visibility="private"))


def test_an_image_or_tombstone_that_the_catalog_has_is_not_learned_anew(path: Path, make_pass: Pass) -> None:
    make_pass(image(1), image(2))
    make_pass(image(1))
    before = stored(path)
    insert_image(path, GLANCE, record_of(1, name="a", updated=LATER))
    insert_image(path, GLANCE, record_of(2, name="a", updated=LATER))
    assert stored(path) == before


def test_a_change_is_learned_but_not_who_sees_the_image(path: Path, make_pass: Pass) -> None:
    make_pass(image(1, owner=ME, visibility="shared", members=[YOU]), image(2, owner=ME, visibility="private"))
    for number in (1, 2):
        apply_update(
            path,
            upstream_of(path),
            record_of(number, owner=ME, visibility="public", metadata={"a": "b"}, updated=LATER),
        )
    changed: Fields = {"owner": ME, "metadata": {"a": "b"}, "updated": LATER}
    assert stored(path) == records_of(
        image(1, visibility="shared", members=[YOU], **changed), image(2, visibility="private", **changed)
    )


@pytest.mark.parametrize(
    ("found", "updated"), [(EARLIER, LATER), (LATER, LATER), ("2022-01-01T00:00:00Z", "2022-01-01T00:00:00Z")]
)
def test_a_change_that_is_learned_never_dates_an_image_back(
    path: Path, make_pass: Pass, found: str, updated: str
) -> None:
    make_pass(image(1, updated=LATER))
    apply_update(path, upstream_of(path), record_of(1, name="a", updated=found))
    assert only(path) == record_of(1, name="a", updated=updated)


def test_a_change_is_not_learned_of_an_image_that_was_learned_anew_meanwhile(
    path: Path, clock: Clock, make_pass: Pass
) -> None:
    make_pass(image(1), image(2))
    before = upstream_of(path)
    make_pass(image(1, name="newer"), image(2))
    clock.tick(-3600)
    for number in (1, 2):
        apply_update(path, before, record_of(number, name="older", updated=LATER))
    assert [record.name for record in stored(path)] == ["newer", "older"]


def test_a_change_that_is_learned_of_a_failed_image_copies_it_again(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1))
    make_pass(failed={image_id(1): FAILED})
    clock.tick()
    apply_update(path, upstream_of(path), record_of(1, metadata={"a": "b"}))
    assert only(path) == record_of(1, metadata={"a": "b"}, updated=clock.now())


@pytest.mark.parametrize(
    "change",
    [
        lambda path: insert_image(path, OTHER, record_of(2)),
        lambda path: apply_update(path, Upstream(OTHER, is_admin=False), record_of(1, name="a")),
        lambda path: apply_delete(path, OTHER, image_id(1), tombstone_days=30),
    ],
    ids=["learn", "learn_change", "learn_end"],
)
def test_nothing_is_learned_from_another_image_service(
    path: Path, make_pass: Pass, change: Callable[[Path], None]
) -> None:
    make_pass(image(1))
    before = path.read_bytes()
    with pytest.raises(UpstreamMismatch, match=f"^{path} is a copy of {GLANCE}; a copy of {OTHER} needs a catalog of"):
        change(path)
    assert path.read_bytes() == before
    import_images(path.with_name("own.db"), records_of(image(1)))
    with pytest.raises(UpstreamMismatch):
        change(path.with_name("own.db"))
    assert stored(path.with_name("own.db")) == records_of(image(1))


def test_a_change_of_an_image_that_is_gone_is_not_learned(path: Path, make_pass: Pass) -> None:
    make_pass(image(1))
    make_pass()
    before = stored(path)
    apply_update(path, upstream_of(path), record_of(1, name="a", updated="2100-01-01T00:00:00Z"))
    apply_update(path, upstream_of(path), record_of(2))
    assert stored(path) == before


def test_an_end_is_learned_once(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1), image(2))
    clock.tick()
    apply_delete(path, GLANCE, image_id(1), tombstone_days=30)
    ended = clock.now()
    clock.tick()
    apply_delete(path, GLANCE, image_id(1), tombstone_days=30)
    apply_delete(path, GLANCE, image_id(9), tombstone_days=30)
    assert stored(path)[0] == record_of(1, status="DELETED", progress=0, updated=ended)
    assert states(path) == {1: "DELETED", 2: "ACTIVE"}


def test_an_end_that_is_learned_purges_tombstones_too(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1), image(2))
    make_pass(image(2))
    clock.tick(8 * 24 * 3600)
    apply_delete(path, GLANCE, image_id(2), tombstone_days=7)
    assert states(path) == {2: "DELETED"}


@pytest.mark.parametrize(
    "change",
    [
        lambda path: insert_image(path, GLANCE, record_of(2)),
        lambda path: apply_update(path, upstream_of(path), record_of(1, name="a")),
        lambda path: apply_delete(path, GLANCE, image_id(1), tombstone_days=30),
    ],
    ids=["learn", "learn_change", "learn_end"],
)
def test_who_waits_for_others_does_not_wait_as_long_as_a_command(
    path: Path, make_pass: Pass, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(upstream, "WRITER_TIMEOUT", 0.1)
    make_pass(image(1))
    with transaction(path), pytest.raises(CatalogBusy):
        change(path)


# --- who asks for what changed ---


@pytest.mark.parametrize(
    "change",
    [
        lambda _, make_pass: make_pass(image(1), image(2, name="new")),
        lambda _, make_pass: make_pass(image(1)),
        lambda _, make_pass: make_pass(image(1), failed={image_id(2): FAILED}),
        lambda path, _: apply_update(path, upstream_of(path), record_of(2, name="new")),
        lambda path, _: apply_delete(path, GLANCE, image_id(2), tombstone_days=30),
    ],
    ids=["changed", "gone", "failed", "learned", "ended"],
)
def test_what_was_learned_is_shown_as_changed_some_seconds_longer(
    path: Path, clock: Clock, make_pass: Pass, change: Callable[[Path, Pass], None]
) -> None:
    make_pass(image(1), image(2))
    clock.tick(100)
    change(path, make_pass)
    assert [since(path, clock.now(later=seconds)) for seconds in (-30, 0, 10, 11)] == [[2], [2], [2], []]


def test_a_new_image_is_shown_as_changed_however_old_it_is(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1))
    clock.tick(100)
    make_pass(image(1), image(2))
    insert_image(path, GLANCE, record_of(3))
    assert [since(path, clock.now(later=seconds)) for seconds in (0, 10, 11)] == [[2, 3], [2, 3], []]
    assert {record.updated for record in stored(path)} == {"2020-01-01T00:00:00Z"}


def test_what_changed_later_than_it_was_learned_is_shown_as_of_then(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1, updated=clock.now(later=60)))
    assert [since(path, clock.now(later=seconds)) for seconds in (58, 59, 60)] == [[1], [1], []]


def test_what_is_as_it_was_is_not_shown_again(path: Path, clock: Clock, make_pass: Pass) -> None:
    make_pass(image(1), image(2))
    clock.tick(100)
    make_pass(image(1), image(2))
    assert since(path, clock.now()) == []


def test_what_was_imported_is_shown_as_of_its_own_time(tmp_path: Path) -> None:
    path = catalog_of(tmp_path, image(1, updated=EARLIER))
    assert [since(path, time) for time in (EARLIER, "2020-06-01T00:00:01Z")] == [[1], []]


# --- catalogs of the version before ---

_LIST_AS_BEFORE = (
    "INSERT INTO audiences (tenant) SELECT DISTINCT owner FROM images WHERE owner IS NOT NULL",
    "INSERT INTO kinds (status, type) SELECT DISTINCT status, type FROM images",
    """
    INSERT INTO listings
    SELECT audience, deleted, created, rank, updated, kind, min_disk, min_ram, name, server FROM visible
    """,
)


def test_a_catalog_of_the_version_before_is_brought_to_this_one_and_may_become_a_copy(
    path: Path, clock: Clock, make_pass: Pass
) -> None:
    images = image(1, updated=EARLIER), image(2, owner=ME, visibility="private"), image(3, status="DELETED", progress=0)
    with closing(Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="5: upstream")
        db.table("images").insert_all(record._asdict() for record in records_of(*images))
        for statement in _LIST_AS_BEFORE:
            db.execute(statement)
        db.conn.commit()
    assert schema_state(path) is SchemaState.OLDER
    assert read_replica(path, GLANCE) is None
    assert ensure_catalog(path, load_sample) == 0
    assert stored(path) == records_of(*images)
    new = catalog_of(path.parent / "new", *images)
    for table in ("images", "listings", "upstream"):
        with closing(open_reader(path)) as db, closing(open_reader(new)) as expected:
            query = f"SELECT * FROM {table}"  # noqa: S608 ours
            assert db.execute(query).fetchall() == expected.execute(query).fetchall()
            assert db.table(table).columns == expected.table(table).columns
    assert since(path, EARLIER) == [1]
    make_pass(image(1, name="new"), replaceable=[image_id(1), image_id(2)])
    assert since(path, clock.now(later=10)) == [1]


def test_a_first_pass_brings_a_catalog_of_the_version_before_to_this_one(path: Path, make_pass: Pass) -> None:
    with closing(Database(path)) as db:
        MIGRATIONS.apply(db, stop_before="5: upstream")
    make_pass(image(1))
    assert (schema_state(path), upstream_of(path).url) == (SchemaState.CURRENT, GLANCE)
