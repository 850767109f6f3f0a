"""A cloud whose images are copied while they change, there and through the service; and what the copy is to be."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from keystoneauth1.session import Session
from sqlite_utils import Database
from starlette.testclient import TestClient

from app.auth import keystone
from app.auth.base import Caller, TokenInfo
from app.catalog.documents import dump_images
from app.catalog.models import Image, ImageFilters, SyncCounts
from app.catalog.sqlite.reader import CatalogReader
from app.catalog.transfer import ensure_catalog, export_images
from app.mirror import client as glance
from app.mirror import sync as passes
from app.mirror.sync import Mirror, SyncFailed
from tests.conftest import client_of
from tests.integration.openstack.copies import copy_of
from tests.support.clock import Clock, told_to_copies
from tests.support.fake_glance import Said, Stand, glance_at, glance_image, standing
from tests.support.images import Fields, image_id

ME, YOU = "1" * 32, "2" * 32
SOME = 3  # images that there ever are
LATE = 5  # seconds, by which the clock of the cloud is
LISTED = "GET /v2/images"


class Put(NamedTuple):
    """Somebody makes an image in the cloud, or changes it. One without a name cannot be copied: it is malformed."""

    number: int
    fields: dict[str, Any]


class Hide(NamedTuple):
    """Somebody hides an image, or shows it again."""

    number: int
    hidden: bool


class Share(NamedTuple):
    """A project is made a member of an image, and accepts it or not yet; or it is a member no longer."""

    number: int
    project: str
    status: str | None


class Delete(NamedTuple):
    """Somebody deletes an image in the cloud, where its id never comes back."""

    number: int


class Fail(NamedTuple):
    """The cloud does not tell the members of an image from now on, or does again."""

    number: int
    fails: bool


class Ask(NamedTuple):
    """Somebody shows, changes or deletes an image through the service."""

    number: int
    method: str
    items: dict[str, str]  # if it is changed


class Pass(NamedTuple):
    """The mirror makes a pass, while something may be asked: before the list is made, or after it."""

    whole: bool
    asked: Ask | None = None
    before: bool = True


class FailedPass(NamedTuple):
    """The mirror makes a pass while the cloud lists no images."""

    whole: bool


class Wait(NamedTuple):
    """Time passes."""

    seconds: int


Step = Put | Hide | Share | Delete | Fail | Ask | Pass | FailedPass | Wait


class Tokens:
    """Stands where Keystone is expected: it knows one token, of one project."""

    url = "http://keystone.test/v3"

    def validate(self, _token: str) -> TokenInfo:
        """Tell who gives the token."""
        return TokenInfo(Caller(ME, is_admin=False), inf)


class Environment:
    """Stands where the cloud of the environment is expected."""

    def get_session(self) -> Session:
        """Give a session without credentials."""
        return Session()


class World:
    """A cloud, a copy, and somebody who asks the copy for what changed."""

    def __init__(self, stand: Stand, catalog: Path, client: TestClient, clock: Clock) -> None:
        self._stand = stand
        self._catalog = catalog
        self._client = client
        self._clock = clock
        stand.page = 2
        stand.now = partial(clock.now, later=-LATE)

    def restart(self) -> None:
        """Begin with no images, and with a catalog that is no copy yet."""
        for part in (self._stand.images, self._stand.members, self._stand.says, self._stand.requests):
            part.clear()
        with closing(Database(self._catalog)) as db, db.conn:
            for table in ("listings", "images", "upstream"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 ours
        self._catalog.with_name(f"{self._catalog.name}.mirror").unlink(missing_ok=True)
        self._clock.restart()
        self._mirror = Mirror(
            partial(glance_at, self._stand.url, is_admin=True),
            self._catalog,
            tombstone_days=30,
            replaceable=[],
            watch=lambda pages, _: pages,
        )
        self._deleted: set[int] = set()
        self._disturbed: set[str] = set()  # images that once could not be copied, or were gone
        self._polled = self._clock.now()
        self._told: dict[str, Image] = {}
        self._last: dict[str, str] = {}

    def step(self, step: Step) -> None:
        """Do one step, and check what can be said of the copy at any time."""
        match step:
            case Ask():
                self._ask(step)
            case Pass():
                self._pass(step)
            case FailedPass():
                self._fail_pass(step)
            case Wait():
                self._clock.tick(step.seconds)
            case _:
                self._change_cloud(step)
        self._disturbed |= {id_ for id_, image in self._stand.images.items() if not self._is_well(image)}
        self._check_times()
        self._poll()

    def _change_cloud(self, step: Put | Hide | Share | Delete | Fail) -> None:
        image = self._stand.images.get(image_id(step.number))
        match step:
            case Put() if step.number not in self._deleted:
                self._put(step.number, **step.fields)
            case Hide() if image:
                self._put(step.number, os_hidden=step.hidden)
            case Share():
                members = self._stand.members.setdefault(image_id(step.number), {})
                members.pop(step.project, None)
                if step.status is not None:
                    members[step.project] = step.status
            case Delete() if image:
                self._stand.drop(step.number)
                self._deleted.add(step.number)
            case Fail():
                self._fail(step.number, fails=step.fails)

    def settle(self) -> None:
        """Let all images be such that they can be copied, and check that they are, and that this changes no more."""
        for number in range(1, SOME + 1):
            self._fail(number, fails=False)
            if image_id(number) in self._stand.images:
                self._put(number, name="good")
        self.step(Pass(whole=True))
        with closing(Database(self._catalog)) as db:
            (version,) = db.execute("PRAGMA data_version").fetchone()
            for whole in (True, False):
                self._clock.tick(0.01)
                assert self._mirror.make_pass(whole=whole).copied == SyncCounts(0, 0, 0)
            assert db.execute("PRAGMA data_version").fetchone() == (version,)

    def check_listings(self) -> None:
        """Check that the catalog lists what it has, and nothing else."""
        columns = "audience, deleted, created, rank, changed, kind, min_disk, min_ram, name, server"
        assert self._rows(f"SELECT {columns} FROM listings") == self._rows(f"SELECT {columns} FROM visible")  # noqa: S608

    def _fail(self, number: int, *, fails: bool) -> None:
        self._stand.says.pop(_members(number), None)
        if fails:
            self._stand.says[_members(number)] = Said(500)

    def _put(self, number: int, **fields: Any) -> None:
        now = self._clock.now(later=-LATE)
        image = self._stand.images.get(image_id(number)) or glance_image(number, created_at=now, owner=ME)
        self._stand.put(image | fields | {"updated_at": now})

    def _ask(self, ask: Ask) -> int:
        """Ask, and check that what was done in the cloud is done in the copy."""
        url = f"/v2/{ME}/images/{image_id(ask.number)}"
        if ask.method == "POST":
            url += "/metadata"
        body = {"metadata": ask.items} if ask.method == "POST" else None
        answer = self._client.request(ask.method, url, json=body, headers={"X-Auth-Token": "mine"})
        assert answer.status_code in {200, 204, 403, 404, 503}
        self._check_asked(ask, answer.status_code)
        return answer.status_code

    def _check_asked(self, ask: Ask, status: int) -> None:
        held = self._held().get(image_id(ask.number))
        if status == 204:
            assert held is not None
            assert (held["status"], image_id(ask.number) in self._stand.images) == ("DELETED", False)
            self._deleted.add(ask.number)
        if status == 200:
            assert held is not None
            assert held["status"] != "DELETED"
            learned = ask.items.items() <= held["metadata"].items()
            assert ask.method != "POST" or learned or held["id"] in self._disturbed  # and so may be dated later

    def _pass(self, step: Pass) -> None:
        before, statuses = self._held(), list[int]()
        self._clock.tick(0.01)
        if step.asked is not None:
            asked = step.asked
            events = self._stand.meanwhile if step.before else self._stand.afterwards
            events[LISTED] = lambda: statuses.append(self._ask(asked))
        report = self._mirror.make_pass(whole=step.whole)
        if step.asked is None:
            self._check_copied(before, whole=report.is_whole)
        elif step.asked.method == "DELETE" or self._is_listed(step.asked.number):
            self._check_asked(step.asked, *statuses)

    def _fail_pass(self, step: FailedPass) -> None:
        before = self._held()
        self._stand.says[LISTED] = Said(503)
        with pytest.raises(SyncFailed):
            self._mirror.make_pass(whole=step.whole)
        del self._stand.says[LISTED]
        assert self._held() == before

    def _check_copied(self, before: dict[str, Fields], *, whole: bool) -> None:
        """Check that the copy has what a pass is to find, and nothing else."""
        after = self._held()
        assert after.keys() <= {image_id(number) for number in range(1, SOME + 1)}
        for number in range(1, SOME + 1):
            id_ = image_id(number)
            image, held = self._stand.images.get(id_), after.get(id_)
            if image is None or image["os_hidden"]:
                assert not whole or is_gone(held)
            elif self._cannot_be_copied(image):
                assert not whole or last_copy(held) == last_copy(before.get(id_))
                assert not whole or is_gone(held) or self._tells_why(held, image)
            elif image["status"] == "pending_delete":
                assert is_gone(held)
            else:
                self._check_image(held, image, whole=whole)

    def _check_image(self, held: Fields | None, image: Fields, *, whole: bool) -> None:
        members = self._stand.members.get(image["id"], {}) if image["visibility"] == "shared" else {}
        right = copy_of(image, sorted(project for project, status in members.items() if status == "accepted"))
        assert held is not None
        known = {"updated"} if whole else {"updated", "members"}
        assert {**held, **dict.fromkeys(known)} == {**right, **dict.fromkeys(known)}
        assert held["updated"] == right["updated"] or (
            image["id"] in self._disturbed and held["updated"] > right["updated"]
        )

    def _tells_why(self, held: Fields | None, image: Fields) -> bool:
        """Check that a last good copy says why it is the last, and that it is for whom the image is."""
        assert held is not None
        assert (held.get("owner"), held["visibility"]) == (image["owner"], image["visibility"])
        return reason(held) == "theirs" or reason(held).endswith(f"={image['id']}")

    def _cannot_be_copied(self, image: Fields) -> bool:
        fails = f"GET /v2/images/{image['id']}/members" in self._stand.says
        has_members = image["visibility"] == "shared" and image["status"] != "pending_delete"
        return image["name"] == 5 or (has_members and fails)

    def _is_listed(self, number: int) -> bool:
        image = self._stand.images.get(image_id(number))
        return image is not None and not image["os_hidden"] and image["status"] != "pending_delete"

    def _is_well(self, image: Fields) -> bool:
        return not (self._cannot_be_copied(image) or image["os_hidden"] or image["status"] == "pending_delete")

    def _check_times(self) -> None:
        """Check that no image is dated back, and that it is known of tombstones when they are to be purged."""
        now = {id_: image["updated"] for id_, image in self._held().items()}
        assert all(now[id_] >= last for id_, last in self._last.items())
        self._last = now
        assert self._rows("SELECT id FROM images WHERE status = 'DELETED' AND deleted_at IS NULL") == set()

    def _poll(self) -> None:
        """Ask for what changed since this was asked last, and check that all is known then that can be seen."""
        catalog, now = CatalogReader(self._catalog), self._clock.now()
        for image in catalog.find(ME, ImageFilters(changes_since=self._polled), at_most=100).images:
            self._told[image.id] = image
        self._polled = now
        for status in (None, "DELETED"):
            for image in catalog.find(ME, ImageFilters(status=status), at_most=100).images:
                assert self._told[image.id] == image

    def _rows(self, query: str) -> set[tuple[Any, ...]]:
        with closing(Database(self._catalog)) as db:
            return set(db.execute(query).fetchall())

    def _held(self) -> dict[str, Fields]:
        images = orjson.loads(b"".join(dump_images(export_images(self._catalog, deleted=True))))["images"]
        return {image["id"]: image for image in images}


def is_gone(held: Fields | None) -> bool:
    """Tell whether a copy has no image, but a tombstone at most."""
    return held is None or held["status"] == "DELETED"


def reason(held: Fields | None) -> str:
    """Give why an image could not be copied, as the copy says it."""
    return str(held and held["metadata"].get("sync_status_reason"))


def last_copy(image: Fields | None) -> Fields | None:
    """Give what a copy that fails leaves of an image: not whom it is for, nor why it failed, nor when."""
    if image is None:
        return None
    metadata = {key: value for key, value in image["metadata"].items() if key != "sync_status_reason"}
    changing = ("updated", "owner", "visibility", "members")
    return image | {"metadata": metadata} | dict.fromkeys(changing)


def _members(number: int) -> str:
    return f"GET /v2/images/{image_id(number)}/members"


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Start a cloud and the service in front of it."""
    catalog = folder / "catalog.db"
    ensure_catalog(catalog, list)
    with pytest.MonkeyPatch.context() as patch, standing() as stand:
        patch.setattr(keystone, "KeystoneClient", Tokens)
        patch.setattr(glance, "load_cloud_config", Environment)
        patch.setattr(
            passes, "_OVERLAP_SECONDS", 1
        )  # seconds, or nearly all that happens here would be asked for twice
        clock = told_to_copies(patch)
        with client_of(catalog, auth="keystone", stale_after=0) as client:
            yield World(stand, catalog, client, clock)
