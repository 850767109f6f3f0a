"""Images that cannot be copied: the stored image stays, with the reason in its metadata."""

import pytest

from app.catalog.models import ImageFailure, SyncCounts
from app.catalog.replica import format_sync_status_reason
from tests.support.clock import FakeClock
from tests.support.images import Fields, image, image_id
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.unit.catalog.replicas import (
    EARLIER,
    FAILURE,
    GLANCE,
    OTHER_GLANCE,
    REASON,
    TIMEOUT,
    UNCHANGED,
    Replica,
    stored_image,
)

CONNECTION_ERROR = "A failure of the connection"
SHARED: Fields = {"visibility": "shared", "owner": PROJECT, "members": [OTHER_PROJECT]}


def fail(replica: Replica, failure: ImageFailure = FAILURE) -> SyncCounts:
    return replica.sync(failed={image_id(1): failure})


def test_failed_image_stays_with_the_reason(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1, name="a", metadata={"b": "c"}, **SHARED))
    assert fail(replica) == SyncCounts(new=0, changed=1, deleted=0)
    metadata = {"b": "c", "sync_status_reason": REASON}
    assert replica.only() == stored_image(1, name="a", metadata=metadata, updated=clock.now(), **SHARED)


def test_each_new_reason_is_a_change(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1))
    found = []
    for reason in (TIMEOUT, TIMEOUT, CONNECTION_ERROR, CONNECTION_ERROR):
        fail(replica, ImageFailure(reason))
        found.append((replica.only().updated == clock.now(), replica.metadata()["sync_status_reason"]))
    other_reason = format_sync_status_reason(CONNECTION_ERROR, GLANCE, image_id(1))
    assert found == [(True, REASON), (False, REASON), (True, other_reason), (False, other_reason)]


@pytest.mark.parametrize("is_update", [False, True], ids=["sync", "update"])
def test_recovery_is_a_change(replica: Replica, clock: FakeClock, is_update: bool) -> None:
    copied = image(1, metadata={"a": "b"})
    replica.sync(copied)
    fail(replica)
    clock.advance()
    if is_update:
        replica.update(1, metadata={"a": "b"})
    else:
        assert replica.sync(copied).changed == 1
    recovered = stored_image(1, metadata={"a": "b"}, updated=clock.now())
    assert replica.only() == recovered
    assert replica.sync(copied) == UNCHANGED
    assert replica.only() == recovered


each_reason_from_upstream = pytest.mark.parametrize(
    "reason",
    [
        "from upstream",
        "",
        None,
        format_sync_status_reason(TIMEOUT, OTHER_GLANCE, image_id(1)),
        format_sync_status_reason(TIMEOUT, GLANCE, image_id(2)),
        f"{REASON} ",
    ],
)


@each_reason_from_upstream
def test_reason_from_upstream_is_not_overwritten(replica: Replica, reason: str | None) -> None:
    replicated = image(1, metadata={"sync_status_reason": reason})
    replica.sync(replicated)
    assert replica.sync(replicated) == UNCHANGED
    assert fail(replica) == UNCHANGED
    assert replica.only() == stored_image(1, metadata={"sync_status_reason": reason})


@each_reason_from_upstream
def test_reason_that_is_removed_upstream_is_an_ordinary_change(replica: Replica, reason: str | None) -> None:
    replica.sync(image(1, metadata={"sync_status_reason": reason}))
    replica.sync(image(1, updated=EARLIER))
    assert replica.only() == stored_image(1, updated=EARLIER)


def test_reason_from_upstream_replaces_the_services_own(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1))
    fail(replica)
    replica.sync(image(1, metadata={"sync_status_reason": "from upstream"}))
    expected = stored_image(1, metadata={"sync_status_reason": "from upstream"}, updated=clock.now())
    assert replica.only() == expected


def test_own_reason_that_was_written_upstream_is_not_a_change_each_time(replica: Replica) -> None:
    echoed = image(1, metadata={"sync_status_reason": REASON})
    replica.sync(echoed)
    assert replica.sync(echoed) == UNCHANGED
    assert replica.only() == stored_image(1, metadata={"sync_status_reason": REASON})


def test_other_items_that_mention_the_key_are_ordinary_metadata(replica: Replica) -> None:
    replica.sync(image(1, metadata={"a": "sync_status_reason"}))
    replica.sync(image(1))
    assert replica.only() == stored_image(1)
    replica.sync(image(1, metadata={"a": "sync_status_reason"}))
    fail(replica)
    assert replica.metadata() == {"a": "sync_status_reason", "sync_status_reason": REASON}


@pytest.mark.parametrize(
    ("before", "access", "after"),
    [
        pytest.param(SHARED, None, SHARED, id="unknown"),
        pytest.param(SHARED, (PROJECT, "shared"), SHARED, id="unchanged"),
        pytest.param(SHARED, (PROJECT, "private"), SHARED | {"visibility": "private", "members": []}, id="narrower"),
        pytest.param(SHARED, (PROJECT, "public"), SHARED | {"visibility": "public", "members": []}, id="wider"),
        pytest.param(SHARED, (OTHER_PROJECT, "shared"), SHARED | {"owner": OTHER_PROJECT}, id="another owner"),
        pytest.param(SHARED, (None, "public"), {"visibility": "public"}, id="no owner"),
        pytest.param(
            {"visibility": "public"}, (PROJECT, "shared"), SHARED | {"members": []}, id="shared with unknown members"
        ),
    ],
)
def test_failed_image_is_visible_to_those_who_may_see_it_now(
    replica: Replica, clock: FakeClock, before: Fields, access: tuple[str | None, str] | None, after: Fields
) -> None:
    replica.sync(image(1, **before))
    fail(replica, ImageFailure(TIMEOUT, access))
    expected = stored_image(1, metadata={"sync_status_reason": REASON}, updated=clock.now(), **after)
    assert replica.only() == expected
    fail(replica, ImageFailure(TIMEOUT, access))
    assert replica.only() == expected


def test_access_is_updated_even_if_the_reason_stays(replica: Replica) -> None:
    from_upstream: Fields = {"metadata": {"sync_status_reason": "from upstream"}}
    private = ImageFailure(TIMEOUT, (PROJECT, "private"))
    replica.sync(image(1, **from_upstream, **SHARED))
    fail(replica, private)
    assert replica.only() == stored_image(1, **from_upstream, visibility="private", owner=PROJECT)
    replica.sync(image(1, **SHARED))
    fail(replica)
    fail(replica, private)
    assert (replica.only().visibility, replica.only().members) == ("private", "[]")


def test_reason_has_the_form_of_the_documentation() -> None:
    assert format_sync_status_reason("A timeout", "http://glance.test", "1") == (
        "ERROR:A timeout occurred during synchronize image the server(http://glance.test <http://glance.test/> ) "
        "in the image operation. image_id=1"
    )


def test_reason_fits_into_a_metadata_item() -> None:
    url = "https://image.region-1.cloud.example.com:9292"
    assert len(format_sync_status_reason("A response with status 503", url, image_id(1))) <= 255


def test_image_that_was_never_copied_is_not_listed(replica: Replica) -> None:
    assert fail(replica) == UNCHANGED
    assert replica.stored() == []


def test_tombstone_gets_no_reason(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1))
    replica.sync()
    before = replica.stored()
    assert fail(replica) == UNCHANGED
    assert replica.stored() == before
    clock.advance(31 * 86_400)
    replica.sync()
    assert replica.stored() == []
