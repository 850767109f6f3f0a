"""Replicas while Glance or Keystone fails: nothing changes, or only the images that failed have a reason."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from math import inf
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from app.timestamps import SYSTEM_CLOCK
from tests.integration.openstack.cloud import MEMBER, Cloud, as_variables
from tests.integration.openstack.component import installed
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.openstack.keystone import Keystone
from tests.integration.openstack.proxy import (
    Exchange,
    Fault,
    Proxy,
    close_without_response,
    delay,
    edit_document,
    end_body_early,
    repeat_last,
    reset_connection,
    respond_with,
    respond_with_nothing,
    respond_with_status,
    run_first,
    truncate_body,
)
from tests.integration.openstack.replica import Replica, expected_images
from tests.integration.server.service import run, until
from tests.support.images import Fields

pytestmark = pytest.mark.external(install=[installed])

# Requests into which faults are injected.
LIST, NEXT_PAGE, MEMBERS, ALL = r"/images\?", "marker=", "/members", ""

FIRST_PAGE = "GET /v2/images?limit=1000&visibility=all"

REASON = "sync_status_reason"

FULL_ONLY = ("--interval", "0.1", "--full-sync-interval", "0")
INCREMENTAL_ONLY = ("--interval", "0.1", "--full-sync-interval", "1000")

WITH_SHORT_TIMEOUT = """
from app.cli import main
from app.mirror.client import GlanceClient
GlanceClient.__init__.__kwdefaults__["timeout"] = 1.0
main(["mirror", "--once"])
"""

PAGE = 2  # images

Result = CompletedProcess[str]


def with_first(**fields: object) -> Fault:
    """Return a fault that changes fields of the first image of a page."""

    def edit(page: Fields) -> Fields:
        page["images"][0] |= fields
        return page

    return edit_document(edit)


def without_an_id(page: Fields) -> Fields:
    del page["images"][0]["id"]
    return page


FAILURES: dict[str, Fault] = {
    **{str(status): respond_with_status(status) for status in (400, 403, 429, 500, 503)},
    "no response": close_without_response,
    "a reset connection": reset_connection,
    "an incomplete body": end_body_early,
    "incomplete JSON": truncate_body,
    "an empty body": respond_with_nothing,
    "a list": respond_with([]),
    "a number": respond_with(1),
    "an object": respond_with({}),
    "null": respond_with(None),
}
PAGE_FAILURES = FAILURES | {
    "404": respond_with_status(404),
    "images in an object": respond_with({"images": {}}),
    "an image that is text": respond_with({"images": ["image"]}),
    "an image without an id": edit_document(without_an_id),
    "an image with a numeric id": with_first(id=1),
    "a numeric next link": edit_document(lambda page: page | {"next": 1}),
}
MEMBER_FAILURES = FAILURES | {
    "numeric members": respond_with({"members": 1}),
    "a member that is text": respond_with({"members": ["member"]}),
    "a member without an id": respond_with({"members": [{"status": "accepted"}]}),
}
INVALID_IMAGES: dict[str, Fault] = {
    "a name": with_first(name=1),
    "a status": with_first(status=None),
    "an invalid time": with_first(created_at="yesterday"),
    "a missing time": with_first(updated_at=None),
    "an amount in words": with_first(min_disk="much"),
    "a negative amount": with_first(min_ram=-1),
    "a visibility": with_first(visibility="nobody"),
}

INVALID_PARTS: dict[str, Fault] = {
    "a size": with_first(size=2**53),
    "an owner": with_first(owner="a/b"),
    "a name": with_first(name="a\0b"),
}


@pytest.fixture(scope="module", autouse=True)
def small_pages(glance: Glance) -> Iterator[None]:
    with glance.restarted(page=PAGE):
        yield


@pytest.fixture
def proxy(glance: Glance) -> Iterator[Proxy]:
    proxy = Proxy(glance.origin)
    with proxy.running():
        yield proxy


@pytest.fixture
def replica(glance: Glance, cloud: Cloud, proxy: Proxy, tmp_path: Path) -> Replica:
    """Return a replica, still empty, of what the admin sees through the proxy."""
    glance.empty()
    return Replica(tmp_path, as_variables(cloud.administrator() | {"image_endpoint_override": proxy.url}))


@pytest.fixture
def images(replica: Replica, glance: Glance, admin: Images) -> list[str]:
    """Create and copy two pages of images with old update times. Return their ids, the newest, a shared one, first."""
    made = [admin.create(visibility="private", name="old") for _ in range(3)]
    made.append(admin.create(visibility="shared", name="old"))
    glance.execute("UPDATE images SET updated_at = '2020-01-01 00:00:00'")
    replica.sync()
    return made[::-1]


@pytest.fixture
def shared(images: list[str]) -> str:
    return images[0]


def rename(admin: Images) -> None:
    for image in admin.list_all():
        admin.set(image["id"], name="new")


def failed(result: Result) -> bool:
    """Return whether a command failed with one line."""
    return result.returncode == 1 and bool(re.fullmatch(r"Error: .*\n", result.stderr))


def reason(image: Fields, url: str) -> str:
    """Return the reason why an image could not be copied, from its metadata."""
    match = re.fullmatch(
        rf"ERROR:(.+) during synchronize image the server\({url} <{url}/> \) in the image operation\. "
        rf"image_id={image['id']}",
        image["metadata"][REASON],
    )
    assert match, image
    return match[1]


def without_reason(image: Fields | None, url: str) -> Fields | None:
    """Return an image without its reason, which has to be well-formed, and without its update time."""
    if image is None or REASON not in image["metadata"]:
        return image
    assert reason(image, url)
    return without_time(
        image | {"metadata": {name: value for name, value in image["metadata"].items() if name != REASON}}
    )


def without_time(image: Fields) -> Fields:
    return {name: value for name, value in image.items() if name != "updated"}


def without_times(images: dict[str, Fields]) -> dict[str, Fields]:
    return {each: without_time(image) for each, image in images.items()}


@pytest.mark.parametrize(
    ("requests", "faults"), [(LIST, PAGE_FAILURES), (NEXT_PAGE, PAGE_FAILURES | {"a loop": repeat_last})]
)
def test_failure_of_a_page_fails_the_sync_and_changes_nothing(  # noqa: PLR0913, PLR0917 a table and four fixtures
    replica: Replica, proxy: Proxy, admin: Images, images: list[str], requests: str, faults: dict[str, Fault]
) -> None:
    rename(admin)
    with replica.unchanged():
        results = {}
        for name, fault in faults.items():
            with proxy.injecting(fault, into=requests):
                results[name] = replica.sync_once()
    assert {name: result.stderr for name, result in results.items() if not failed(result)} == {}
    replica.sync()
    assert replica.images() == expected_images(admin)


def test_failed_first_sync_creates_no_catalog(replica: Replica, proxy: Proxy, admin: Images) -> None:
    for _ in range(PAGE + 1):
        admin.create()
    with proxy.injecting(respond_with_status(500), into=NEXT_PAGE):
        assert failed(replica.sync_once())
    assert not replica.catalog.exists()


def test_timeout_fails_the_sync(replica: Replica, proxy: Proxy, images: list[str]) -> None:
    with proxy.injecting(delay(20), into=NEXT_PAGE), replica.unchanged():
        assert failed(run(sys.executable, "-c", WITH_SHORT_TIMEOUT, folder=replica.folder, **replica.variables))


@pytest.mark.parametrize(
    ("faults", "requests", "times"),
    [(MEMBER_FAILURES, MEMBERS, inf), (INVALID_IMAGES, LIST, 1)],
    ids=["members", "image"],
)
def test_image_that_fails_keeps_its_last_copy_with_a_reason(  # noqa: PLR0913, PLR0917 a table and four fixtures
    replica: Replica,
    proxy: Proxy,
    admin: Images,
    shared: str,
    faults: dict[str, Fault],
    requests: str,
    times: float,
) -> None:
    before = replica.images()[shared]
    rename(admin)
    images_after = {}
    for name, fault in faults.items():
        with proxy.injecting(fault, into=requests, times=times):
            replica.sync()
        images_after[name] = replica.images()
    assert {name: without_reason(each.get(shared), proxy.url) for name, each in images_after.items()} == dict.fromkeys(
        faults, without_time(before)
    )
    assert min(each[shared]["updated"] for each in images_after.values()) > before["updated"]
    others = expected_images(admin) | {shared: None}
    assert [name for name, each in images_after.items() if each | {shared: None} != others] == []


def test_image_with_an_invalid_part_is_copied_without_it(replica: Replica, proxy: Proxy, shared: str) -> None:
    for name, fault in INVALID_PARTS.items():
        with proxy.injecting(fault, into=LIST, times=1):
            assert f"Image {shared}: Copied without the " in replica.sync_once().stderr, name
        assert REASON not in replica.images()[shared]["metadata"]


def test_reason_names_the_failure(replica: Replica, proxy: Proxy, shared: str) -> None:
    with proxy.injecting(respond_with_status(500), into=MEMBERS):
        replica.sync()
    assert reason(replica.images()[shared], proxy.url) == "A response with status 500 occurred"
    with proxy.injecting(delay(20), into=MEMBERS):
        result = run(sys.executable, "-c", WITH_SHORT_TIMEOUT, folder=replica.folder, **replica.variables)
    assert (result.returncode, reason(replica.images()[shared], proxy.url)) == (0, "A timeout occurred")


def test_reason_is_written_once_and_removed_by_the_next_successful_copy(
    replica: Replica, proxy: Proxy, admin: Images, shared: str
) -> None:
    with proxy.injecting(respond_with_status(500), into=MEMBERS):
        replica.sync()
        with replica.unchanged():
            replica.sync()
    failed_image = replica.images()[shared]
    until(lambda: SYSTEM_CLOCK.now() > failed_image["updated"])
    replica.sync()
    copied = replica.images()
    assert copied[shared]["updated"] > failed_image["updated"]
    assert without_times(copied) == without_times(expected_images(admin))


def test_image_that_was_never_copied_is_copied_later(
    replica: Replica, proxy: Proxy, admin: Images, images: list[str]
) -> None:
    new = admin.create(visibility="shared")
    with proxy.injecting(respond_with_status(500), into=f"{new}{MEMBERS}"):
        replica.sync()
        assert new not in replica.images()
    replica.sync()
    assert replica.images() == expected_images(admin)


def test_failed_image_is_retried_by_the_next_incremental_sync(
    replica: Replica, proxy: Proxy, admin: Images, shared: str
) -> None:
    with replica.mirrored(*INCREMENTAL_ONLY) as mirror:
        mirror.await_syncs()
        with proxy.injecting(respond_with_status(500), into=MEMBERS):
            admin.set(shared, name="newer")
            until(lambda: REASON in replica.images()[shared]["metadata"])
        expected = without_times(expected_images(admin))
        until(lambda: without_times(replica.images()) == expected)


def test_image_deleted_before_its_members_are_fetched_becomes_a_tombstone(
    replica: Replica, proxy: Proxy, admin: Images, images: list[str], shared: str
) -> None:
    with proxy.injecting(run_first(lambda: admin.delete(shared)), into=MEMBERS):
        replica.sync()
    assert replica.images() == expected_images(admin)
    assert list(replica.tombstones()) == [shared]


def test_outage_fails_the_sync_instead_of_every_image(replica: Replica, proxy: Proxy, admin: Images) -> None:
    made = [admin.create(visibility="shared") for _ in range(6)]
    replica.sync()
    with proxy.injecting(respond_with_status(503), into=ALL, skip=len(made) // PAGE + 1), replica.unchanged():
        assert failed(replica.sync_once())
    with proxy.injecting(respond_with_status(503), into=MEMBERS):
        replica.sync()
    assert [reason(image, proxy.url) for image in replica.images().values()] == [
        "A response with status 503 occurred"
    ] * len(made)


def test_list_starts_over_when_its_marker_is_purged(
    replica: Replica, proxy: Proxy, glance: Glance, admin: Images, images: list[str]
) -> None:
    marker = images[PAGE - 1]

    def delete_and_purge() -> None:
        admin.delete(marker)
        glance.purge_deleted()

    before = len(proxy.requests)
    with proxy.injecting(run_first(delete_and_purge), into=NEXT_PAGE, times=1):
        replica.sync()
    assert replica.images() == expected_images(admin)
    assert list(replica.tombstones()) == [marker]
    assert [request for request in proxy.requests[before:] if re.search(LIST, request)] == [
        FIRST_PAGE,
        f"{FIRST_PAGE}&marker={marker}",
        FIRST_PAGE,
        f"{FIRST_PAGE}&marker={images[PAGE]}",
        f"{FIRST_PAGE}&os_hidden=true",
    ]


def test_deleted_marker_that_glance_still_knows_does_not_restart_the_list(
    replica: Replica, proxy: Proxy, admin: Images, images: list[str]
) -> None:
    marker = images[PAGE - 1]
    before = replica.images()
    with proxy.injecting(run_first(lambda: admin.delete(marker)), into=NEXT_PAGE, times=1):
        replica.sync()
    assert replica.images() == before  # it was listed before it was deleted
    replica.sync()
    assert replica.images() == expected_images(admin)


def test_list_of_a_member_starts_over_for_every_deleted_marker(
    glance: Glance, cloud: Cloud, proxy: Proxy, member: Images, tmp_path: Path
) -> None:
    glance.empty()
    credentials = cloud.credentials(MEMBER, "main") | {"image_endpoint_override": proxy.url}
    replica = Replica(tmp_path, as_variables(credentials))
    made = [member.create(visibility="private") for _ in range(PAGE + 1)]
    with proxy.injecting(run_first(lambda: member.delete(made[1])), into=NEXT_PAGE, times=1):
        replica.sync()
    assert replica.images() == expected_images(member)
    assert proxy.requests.count(FIRST_PAGE) == 2


OUTAGES: dict[str, Callable[[Proxy], AbstractContextManager[None]]] = {
    "connection refused": lambda proxy: proxy.stopped(),
    "503": lambda proxy: proxy.injecting(respond_with_status(503), into=ALL),
    "connection reset": lambda proxy: proxy.injecting(reset_connection, into=ALL),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_mirror_recovers_from_an_outage_of_glance(
    replica: Replica, proxy: Proxy, admin: Images, images: list[str], outage: str
) -> None:
    with replica.mirrored(*FULL_ONLY) as mirror:
        mirror.await_syncs()
        with OUTAGES[outage](proxy):
            mirror.await_syncs(matching="Sync failed")
            with replica.unchanged():
                rename(admin)
                mirror.await_syncs(matching="Sync failed")
        expected = expected_images(admin)
        until(lambda: replica.images() == expected)
        assert mirror.terminate() == 0


def test_sigterm_ends_a_mirror_that_waits_for_glance(replica: Replica, proxy: Proxy, images: list[str]) -> None:
    before = len(proxy.requests)
    with proxy.injecting(delay(20), into=NEXT_PAGE), replica.mirrored(*FULL_ONLY) as mirror, replica.unchanged():
        until(lambda: any(NEXT_PAGE in request for request in proxy.requests[before:]))
        assert mirror.terminate() == 0


def test_mirror_recovers_from_an_outage_of_keystone(
    replica: Replica, keystone: Keystone, admin: Images, images: list[str]
) -> None:
    with keystone.stopped():
        assert failed(replica.sync_once())
        with replica.mirrored(*FULL_ONLY) as mirror, replica.unchanged():
            mirror.await_syncs(2, matching="Sync failed")
    with replica.mirrored(*FULL_ONLY) as mirror:
        mirror.await_syncs()
        with keystone.stopped():
            mirror.await_syncs(2, matching="Sync failed")
        admin.create(visibility="private")
        expected = expected_images(admin)
        until(lambda: replica.images() == expected)


def test_mirror_replaces_an_expired_token(replica: Replica, keystone: Keystone, images: list[str]) -> None:
    with keystone.restarted(token_seconds=2), replica.mirrored(*FULL_ONLY) as mirror:
        mirror.await_syncs(6)
        assert [line for line in mirror.lines if "Sync failed" in line] == []


def test_mirror_replaces_a_revoked_token(glance: Glance, cloud: Cloud, member: Images, tmp_path: Path) -> None:
    glance.empty()
    member.create()
    replica = Replica(tmp_path, as_variables(cloud.credentials(MEMBER, "main")))
    with replica.mirrored(*FULL_ONLY) as mirror:
        mirror.await_syncs()
        cloud.revoke_all(MEMBER)
        mirror.await_syncs(3, matching="Full")


@pytest.mark.parametrize(
    "invalid",
    [
        {"OS_PASSWORD": "wrong"},
        {"OS_PASSWORD": ""},
        {"OS_USERNAME": ""},
        {"OS_PROJECT_NAME": "wrong"},
        {"OS_REGION_NAME": "wrong", "OS_IMAGE_ENDPOINT_OVERRIDE": ""},
        {"OS_AUTH_URL": ""},
        {"OS_AUTH_URL": "wrong"},
        {"OS_CLOUD": "wrong"},
    ],
    ids=str,
)
def test_invalid_cloud_configuration_is_an_error(replica: Replica, images: list[str], invalid: dict[str, str]) -> None:
    with replica.unchanged():
        assert failed(replica.sync_once(**invalid))


def test_backoff_grows_during_an_outage(replica: Replica, proxy: Proxy) -> None:
    times = []

    def fail(exchange: Exchange) -> None:
        times.append(time.monotonic())
        respond_with_status(503)(exchange)

    with proxy.injecting(fail, into=LIST), replica.mirrored(*FULL_ONLY):
        until(lambda: len(times) > 5)
    delays = [later - earlier for earlier, later in pairwise(times)]
    assert delays[0] * 4 < delays[4]
