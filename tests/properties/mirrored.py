"""A model of a cloud whose images change, directly and through the service, while a mirror copies them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import orjson
import pytest
from starlette.testclient import TestClient

from app.catalog.documents import dump_images
from app.catalog.engines import open_catalog
from app.catalog.models import Image, SyncCounts, SyncStatus
from app.catalog.transfer import ensure_catalog, export_images
from app.mirror.sync import SyncFailed
from tests.integration.openstack.replica import expected_image
from tests.support.catalogs import empty_catalog, execute, read_list, stored_version
from tests.support.clock import FakeClock
from tests.support.fake_glance import FakeGlance, FakeResponse, glance_image, running_glance
from tests.support.images import Fields, image_id
from tests.support.projects import PROJECT
from tests.support.replicas import mirror_of, running_service

MAX_IMAGES = 3
CLOCK_SKEW = 5  # seconds, by which the cloud's clock is behind
LIST = "GET /v2/images"


class Put(NamedTuple):
    """An image is created or changed in the cloud. One whose name is a number is invalid and cannot be copied."""

    number: int
    fields: dict[str, Any]


class Hide(NamedTuple):
    """An image is hidden, or shown again."""

    number: int
    hidden: bool


class Share(NamedTuple):
    """A project becomes a member of an image with a status, or ceases to be one."""

    number: int
    project: str
    status: str | None


class Delete(NamedTuple):
    """An image is deleted in the cloud. Its id is never used again."""

    number: int


class FailMembers(NamedTuple):
    """Requests for the members of an image fail from now on, or succeed again."""

    number: int
    fails: bool


class Request(NamedTuple):
    """A client shows, changes or deletes an image through the service."""

    number: int
    method: str
    items: dict[str, str]  # for POST


class Sync(NamedTuple):
    """The mirror syncs. A request may arrive meanwhile, before or after Glance has built its list."""

    full: bool
    request: Request | None = None
    before: bool = True


class FailedSync(NamedTuple):
    """The mirror syncs while the cloud cannot list images."""

    full: bool


class Wait(NamedTuple):
    """The clock advances."""

    seconds: int


Step = Put | Hide | Share | Delete | FailMembers | Request | Sync | FailedSync | Wait


class World:
    """A cloud, its replica, and a client that polls the replica for changes."""

    def __init__(self, glance: FakeGlance, location: str, client: TestClient, clock: FakeClock) -> None:
        self._glance = glance
        self.location = location
        self._catalog = open_catalog(location)
        self._client = client
        self._clock = clock
        glance.page_size = 2
        glance.now = partial(clock.now, offset=-CLOCK_SKEW)

    def restart(self) -> None:
        """Start without images, and with a catalog that is no replica yet."""
        glance = self._glance
        for state in (glance.images, glance.members, glance.responses, glance.requests):
            state.clear()
        empty_catalog(self.location)
        self._catalog.write_sync_status(SyncStatus())
        self._clock.reset()
        # With the default overlap of a minute, nearly every incremental sync would list every image.
        self._mirror = mirror_of(self._glance, self._catalog, clock=self._clock, overlap_seconds=1)
        self._deleted: set[int] = set()
        self._disturbed: set[str] = set()  # images that could not be copied, or were missing, at some time
        self._polled_at = self._clock.now()
        self._polled: dict[str, Image] = {}
        self._last_updated: dict[str, str] = {}

    def step(self, step: Step) -> None:
        """Do one step, and check what holds for the replica at any time."""
        match step:
            case Request():
                self._request(step)
            case Sync():
                self._sync(step)
            case FailedSync():
                self._fail_sync(step)
            case Wait():
                self._clock.advance(step.seconds)
            case _:
                self._change_cloud(step)
        self._disturbed |= {id_ for id_, image in self._glance.images.items() if self._is_failing(image)}
        self._check_times()
        self._poll()

    def settle(self) -> None:
        """Make all images copyable, and check that a sync copies them and that later syncs change nothing."""
        for number in range(1, MAX_IMAGES + 1):
            self._fail_members(number, fails=False)
            if image_id(number) in self._glance.images:
                self._put(number, name="valid")
        self.step(Sync(full=True))
        before = stored_version(self._catalog)
        for full in (True, False):
            self._clock.advance(0.01)
            assert self._mirror.sync(full=full).counts == SyncCounts(0, 0, 0)
        assert stored_version(self._catalog) == before

    def check_index(self) -> None:
        """Check that the index has an entry for each image and viewer, and no others."""
        assert list(self._catalog.check()) == []

    def _change_cloud(self, step: Put | Hide | Share | Delete | FailMembers) -> None:
        image = self._glance.images.get(image_id(step.number))
        match step:
            case Put() if step.number not in self._deleted:
                self._put(step.number, **step.fields)
            case Hide() if image:
                self._put(step.number, os_hidden=step.hidden)
            case Share():
                members = self._glance.members.setdefault(image_id(step.number), {})
                members.pop(step.project, None)
                if step.status is not None:
                    members[step.project] = step.status
            case Delete() if image:
                self._glance.remove(step.number)
                self._deleted.add(step.number)
            case FailMembers():
                self._fail_members(step.number, fails=step.fails)

    def _fail_members(self, number: int, *, fails: bool) -> None:
        self._glance.responses.pop(_members_of(image_id(number)), None)
        if fails:
            self._glance.responses[_members_of(image_id(number))] = FakeResponse(500)

    def _put(self, number: int, **fields: Any) -> None:
        now = self._clock.now(offset=-CLOCK_SKEW)
        image = self._glance.images.get(image_id(number)) or glance_image(number, created_at=now, owner=PROJECT)
        self._glance.put(image | fields | {"updated_at": now})

    def _request(self, request: Request) -> int:
        """Send a request, and check that the replica has what the cloud has afterwards."""
        url = f"/v2/{PROJECT}/images/{image_id(request.number)}"
        if request.method == "POST":
            url += "/metadata"
        body = {"metadata": request.items} if request.method == "POST" else None
        response = self._client.request(request.method, url, json=body, headers={"X-Auth-Token": "owner"})
        assert response.status_code in {200, 204, 403, 404, 503}
        self._check_request(request, response.status_code)
        return response.status_code

    def _check_request(self, request: Request, status: int) -> None:
        stored = self._stored().get(image_id(request.number))
        if status == 204:
            assert stored is not None
            assert (stored["status"], image_id(request.number) in self._glance.images) == ("DELETED", False)
            self._deleted.add(request.number)
        if status == 200:
            assert stored is not None
            assert request.method == "GET" or stored["status"] != "DELETED"
            is_applied = request.items.items() <= stored["metadata"].items()
            # A disturbed image may have a later time of change than the cloud's, which wins.
            assert request.method != "POST" or is_applied or stored["id"] in self._disturbed

    def _sync(self, step: Sync) -> None:
        before, statuses = self._stored(), list[int]()
        self._clock.advance(0.01)
        if step.request is not None:
            request = step.request
            hooks = self._glance.before if step.before else self._glance.after
            hooks[LIST] = lambda: statuses.append(self._request(request))
        report = self._mirror.sync(full=step.full)
        if step.request is None:
            self._check_synced(before, full=report.is_full)
        elif step.request.method == "DELETE" or self._is_listed(step.request.number):
            self._check_request(step.request, *statuses)

    def _fail_sync(self, step: FailedSync) -> None:
        before = self._stored()
        self._glance.responses[LIST] = FakeResponse(503)
        with pytest.raises(SyncFailed):
            self._mirror.sync(full=step.full)
        del self._glance.responses[LIST]
        assert self._stored() == before

    def _check_synced(self, before: dict[str, Fields], *, full: bool) -> None:
        """Check that the replica has what a sync can know, and nothing else."""
        after = self._stored()
        ids = [image_id(number) for number in range(1, MAX_IMAGES + 1)]
        assert after.keys() <= set(ids)
        for id_ in ids:
            image, stored = self._glance.images.get(id_), after.get(id_)
            if image is None:
                assert not full or is_deleted(stored)
            elif self._is_failing(image):
                assert not full or last_copy(stored) == last_copy(before.get(id_))
                assert not full or is_deleted(stored) or self._states_failure(stored, image)
            else:
                self._check_image(stored, image, full=full)
                assert (id_ in self._undated_tombstones()) == (image["status"] == "pending_delete")

    def _check_image(self, stored: Fields | None, image: Fields, *, full: bool) -> None:
        members = self._glance.members.get(image["id"], {}) if image["visibility"] == "shared" else {}
        expected = expected_image(image, members)
        assert stored is not None
        ignored = dict.fromkeys({"updated"} if full else {"updated", "members", "pending_members"})
        assert stored | ignored == expected | ignored
        assert stored["updated"] == expected["updated"] or (
            image["id"] in self._disturbed and stored["updated"] > expected["updated"]
        )

    def _states_failure(self, stored: Fields | None, image: Fields) -> bool:
        """Return whether the stored image has a reason; check that it has the image's current access."""
        assert stored is not None
        assert (stored.get("owner"), stored["visibility"]) == (image["owner"], image["visibility"])
        reason = str(stored["metadata"].get("sync_status_reason"))
        return reason == "upstream's" or reason.endswith(f"={image['id']}")

    def _is_failing(self, image: Fields) -> bool:
        has_members = image["visibility"] == "shared"
        return image["name"] == 5 or (has_members and _members_of(image["id"]) in self._glance.responses)

    def _is_listed(self, number: int) -> bool:
        image = self._glance.images.get(image_id(number))
        return image is not None and not image["os_hidden"] and image["status"] != "pending_delete"

    def _check_times(self) -> None:
        """Check that no `updated` goes back."""
        updated = {id_: image["updated"] for id_, image in self._stored().items()}
        assert all(updated[id_] >= last for id_, last in self._last_updated.items())
        self._last_updated = updated

    def _undated_tombstones(self) -> set[str]:
        """Return the ids of images that the cloud is deleting: a sync has to turn them into tombstones later."""
        undated = "SELECT id FROM images WHERE status = 'DELETED' AND deleted_at IS NULL"
        return {id_ for (id_,) in execute(self.location, undated)}

    def _poll(self) -> None:
        """Request what changed since the last poll, and check that polling alone shows all that a list shows."""
        now = self._clock.now()
        self._polled |= {image.id: image for image in read_list(self._catalog, changes_since=self._polled_at)}
        self._polled_at = now
        for status in (None, "DELETED"):
            for image in read_list(self._catalog, status=status):
                assert self._polled[image.id] == image

    def _stored(self) -> dict[str, Fields]:
        images = orjson.loads(b"".join(dump_images(export_images(self._catalog, deleted=True))))["images"]
        return {image["id"]: image for image in images}


def is_deleted(stored: Fields | None) -> bool:
    """Return whether the replica has no image but at most a tombstone."""
    return stored is None or stored["status"] == "DELETED"


def last_copy(image: Fields | None) -> Fields | None:
    """Return the fields of an image that a failure to copy it leaves as they are."""
    if image is None:
        return None
    metadata = {key: value for key, value in image["metadata"].items() if key != "sync_status_reason"}
    return (
        image | {"metadata": metadata} | dict.fromkeys(("updated", "owner", "visibility", "members", "pending_members"))
    )


def _members_of(id_: str) -> str:
    return f"GET /v2/images/{id_}/members"


@contextmanager
def world(location: str) -> Iterator[World]:
    clock = FakeClock()
    ensure_catalog(open_catalog(location), list, tombstone_days=30)
    with running_glance() as glance, running_service(location, clock=clock) as client:
        yield World(glance, location, client, clock)
