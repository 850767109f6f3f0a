"""What becomes of a copy while Glance fails: it stays as it was, or tells which images of it did, and why."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from app.timestamps import now
from tests.integration.openstack.cloud import MEMBER, Cloud, as_variables
from tests.integration.openstack.copies import Copy, truth
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.openstack.keystone import Keystone
from tests.integration.openstack.proxy import (
    Exchange,
    Fault,
    Proxy,
    after,
    cut_short,
    edited,
    empty,
    end_early,
    failing,
    hang_up,
    repeat,
    reset,
    saying,
    silent,
)
from tests.integration.server.service import run, until
from tests.support.images import Fields

# Requests that meet a fault.
LIST, NEXT_PAGE, MEMBERS, ALL = r"/images\?", "marker=", "/members", ""

FIRST_PAGE = "GET /v2/images?limit=1000&visibility=all"

REASON = "sync_status_reason"

WHOLE = ("--every", "0.1", "--whole-every", "0")
CHANGES = ("--every", "0.1", "--whole-every", "1000")

IMPATIENT = """
from app.cli import main
from app.mirror.glance import Glance
Glance.__init__.__kwdefaults__["answer_in"] = 1.0
main(["mirror", "--once"])
"""

PAGE = 2  # images

Ended = CompletedProcess[str]


def with_first(**fields: object) -> Fault:
    """Say something else of the first image of a page."""

    def edit(page: Fields) -> Fields:
        page["images"][0] |= fields
        return page

    return edited(edit)


def without_an_id(page: Fields) -> Fields:
    del page["images"][0]["id"]
    return page


LOST: dict[str, Fault] = {
    "400": failing(400),
    "403": failing(403),
    "429": failing(429),
    "500": failing(500),
    "503": failing(503),
    "no answer": hang_up,
    "a connection that breaks": reset,
    "an answer that ends early": end_early,
    "half an answer": cut_short,
    "an empty answer": empty,
    "a list": saying([]),
    "a number": saying(1),
    "an object": saying({}),
    "null": saying(None),
}
LOST_PAGES = LOST | {
    "404": failing(404),
    "images that are no list": saying({"images": {}}),
    "an image that is none": saying({"images": ["image"]}),
    "an image without an id": edited(without_an_id),
    "an image whose id is a number": with_first(id=1),
    "a next page that is a number": edited(lambda page: page | {"next": 1}),
}
LOST_MEMBERS = LOST | {
    "members that are no list": saying({"members": 1}),
    "a member that is none": saying({"members": ["member"]}),
    "a member without an id": saying({"members": [{"status": "accepted"}]}),
    "a member whose id is a number": saying({"members": [{"member_id": 1, "status": "accepted"}]}),
}
MALFORMED: dict[str, Fault] = {
    "a name": with_first(name=1),
    "a status": with_first(status=None),
    "a time that is none": with_first(created_at="yesterday"),
    "a time that is missing": with_first(updated_at=None),
    "an amount that is none": with_first(min_disk="much"),
    "an amount below nothing": with_first(min_ram=-1),
    "a size": with_first(size="large"),
    "an owner": with_first(owner=1),
    "who sees it": with_first(visibility="nobody"),
}


@pytest.fixture(scope="module", autouse=True)
def small_pages(glance: Glance) -> Iterator[None]:
    """Have lists come in several pages."""
    with glance.restarted(page=PAGE):
        yield


@pytest.fixture
def proxy(glance: Glance) -> Iterator[Proxy]:
    """Put a proxy in front of Glance."""
    proxy = Proxy(glance.origin)
    with proxy.running():
        yield proxy


@pytest.fixture
def copy(glance: Glance, cloud: Cloud, proxy: Proxy, tmp_path: Path) -> Copy:
    """Give a catalog that is to be a copy of what the administrator sees through the proxy, where nothing is yet."""
    glance.empty()
    return Copy(tmp_path, as_variables(cloud.administrator() | {"image_endpoint_override": proxy.url}))


@pytest.fixture
def images(copy: Copy, glance: Glance, administrator: Images) -> list[str]:
    """Have two pages of images, the newest first, which is shared; and copy them. None has changed for long."""
    made = [administrator.create(visibility="private", name="old") for _ in range(3)]
    made.append(administrator.create(visibility="shared", name="old"))
    glance.execute("UPDATE images SET updated_at = '2020-01-01 00:00:00'")
    copy.fill()
    return made[::-1]


@pytest.fixture
def shared(images: list[str]) -> str:
    """Give the image whose members are asked for."""
    return images[0]


def rename(administrator: Images) -> None:
    """Change all images."""
    for image in administrator.everything():
        administrator.set(image["id"], name="new")


def failed(ended: Ended) -> bool:
    """Tell whether a command failed, and said so in one line."""
    return ended.returncode == 1 and bool(re.fullmatch(r"Error: .*\n", ended.stderr))


def reason(image: Fields, url: str) -> str:
    """Give what happened to an image that could not be copied."""
    why = re.fullmatch(
        rf"ERROR:(.+) during synchronize image the server\({url} <{url}/> \) in the image operation\. "
        rf"image_id={image['id']}",
        image["metadata"][REASON],
    )
    assert why, image
    return why[1]


def excused(image: Fields | None, url: str) -> Fields | None:
    """Give an image without the reason that it has to have, and without when it changed."""
    if image is None or REASON not in image["metadata"]:
        return image
    assert reason(image, url)
    return undated(image | {"metadata": {name: value for name, value in image["metadata"].items() if name != REASON}})


def undated(image: Fields) -> Fields:
    """Leave out when an image changed."""
    return {name: value for name, value in image.items() if name != "updated"}


def all_undated(images: dict[str, Fields]) -> dict[str, Fields]:
    """Leave out when images changed."""
    return {each: undated(image) for each, image in images.items()}


@pytest.mark.parametrize("requests", [LIST, NEXT_PAGE])
def test_a_pass_without_one_of_its_pages_changes_nothing(
    copy: Copy, proxy: Proxy, administrator: Images, images: list[str], requests: str
) -> None:
    rename(administrator)
    with copy.unwritten():
        ended = {}
        for name, fault in LOST_PAGES.items():
            with proxy.meeting(fault, to=requests):
                ended[name] = copy.once()
    assert {name: each.stderr for name, each in ended.items() if not failed(each)} == {}


def test_a_pass_after_one_that_failed_goes_well(
    copy: Copy, proxy: Proxy, administrator: Images, images: list[str]
) -> None:
    rename(administrator)
    with proxy.meeting(failing(500), to=NEXT_PAGE):
        assert failed(copy.once())
    copy.fill()
    assert copy.images() == truth(administrator)


def test_pages_that_lead_in_a_circle_fail_the_pass(copy: Copy, proxy: Proxy, images: list[str]) -> None:
    with proxy.meeting(repeat, to=NEXT_PAGE), copy.unwritten():
        assert failed(copy.once())


def test_a_first_pass_that_fails_makes_no_copy(copy: Copy, proxy: Proxy, administrator: Images) -> None:
    for _ in range(PAGE + 1):
        administrator.create()
    with proxy.meeting(failing(500), to=NEXT_PAGE):
        assert failed(copy.once())
    assert not copy.catalog.exists()


def test_silence_fails_a_pass(copy: Copy, proxy: Proxy, images: list[str]) -> None:
    with proxy.meeting(silent(20), to=NEXT_PAGE), copy.unwritten():
        assert failed(run(sys.executable, "-c", IMPATIENT, folder=copy.folder, **copy.variables))


def test_an_image_whose_members_cannot_be_had_keeps_its_last_copy_and_tells_why(
    copy: Copy, proxy: Proxy, administrator: Images, images: list[str], shared: str
) -> None:
    before = copy.images()[shared]
    rename(administrator)
    held = {}
    for name, fault in LOST_MEMBERS.items():
        with proxy.meeting(fault, to=MEMBERS):
            copy.fill()
        held[name] = copy.images()
    assert {name: excused(each.get(shared), proxy.url) for name, each in held.items()} == dict.fromkeys(
        LOST_MEMBERS, undated(before)
    )
    assert min(each[shared]["updated"] for each in held.values()) > before["updated"]
    others = truth(administrator) | {shared: None}
    assert [name for name, each in held.items() if each | {shared: None} != others] == []


def test_an_image_that_compute_could_not_tell_keeps_its_last_copy_and_tells_why(
    copy: Copy, proxy: Proxy, administrator: Images, images: list[str]
) -> None:
    newest = images[0]
    before = copy.images()[newest]
    rename(administrator)
    held = {}
    for name, fault in MALFORMED.items():
        with proxy.meeting(fault, to=LIST, times=1):
            copy.fill()
        held[name] = copy.images()
    assert {name: excused(each.get(newest), proxy.url) for name, each in held.items()} == dict.fromkeys(
        MALFORMED, undated(before)
    )
    others = truth(administrator) | {newest: None}
    assert [name for name, each in held.items() if each | {newest: None} != others] == []


def test_what_happened_is_said(copy: Copy, proxy: Proxy, shared: str) -> None:
    with proxy.meeting(failing(500), to=MEMBERS):
        copy.fill()
    assert reason(copy.images()[shared], proxy.url) == "An answer with status 500 occurred"
    with proxy.meeting(silent(20), to=MEMBERS):
        ended = run(sys.executable, "-c", IMPATIENT, folder=copy.folder, **copy.variables)
    assert (ended.returncode, reason(copy.images()[shared], proxy.url)) == (0, "A timeout occurred")


def test_the_reason_goes_with_the_next_good_copy(copy: Copy, proxy: Proxy, administrator: Images, shared: str) -> None:
    with proxy.meeting(failing(500), to=MEMBERS):
        copy.fill()
    kept = copy.images()[shared]
    until(lambda: now() > kept["updated"])
    copy.fill()
    copied = copy.images()
    assert copied[shared]["updated"] > kept["updated"]
    assert all_undated(copied) == all_undated(truth(administrator))


def test_a_reason_that_stays_the_same_is_written_once(copy: Copy, proxy: Proxy, shared: str) -> None:
    with proxy.meeting(failing(500), to=MEMBERS):
        copy.fill()
        with copy.unwritten():
            copy.fill()


def test_an_image_that_never_was_copied_comes_when_it_can(
    copy: Copy, proxy: Proxy, administrator: Images, images: list[str]
) -> None:
    new = administrator.create(visibility="shared")
    with proxy.meeting(failing(500), to=f"{new}{MEMBERS}"):
        copy.fill()
        assert new not in copy.images()
    copy.fill()
    assert copy.images() == truth(administrator)


def test_an_image_that_could_not_be_copied_is_asked_for_again_soon(
    copy: Copy, proxy: Proxy, administrator: Images, shared: str
) -> None:
    with copy.mirrored(*CHANGES) as mirror:
        mirror.await_passes()
        with proxy.meeting(failing(500), to=MEMBERS):
            administrator.set(shared, name="newer")
            until(lambda: REASON in copy.images()[shared]["metadata"])
        expected = all_undated(truth(administrator))
        until(lambda: all_undated(copy.images()) == expected)


def test_an_image_that_is_deleted_before_its_members_are_asked_for_is_gone(
    copy: Copy, proxy: Proxy, administrator: Images, images: list[str], shared: str
) -> None:
    with proxy.meeting(after(lambda: administrator.delete(shared)), to=MEMBERS):
        copy.fill()
    assert copy.images() == truth(administrator)
    assert list(copy.tombstones()) == [shared]


def test_when_nothing_can_be_had_any_more_it_is_no_matter_of_single_images(
    copy: Copy, proxy: Proxy, administrator: Images
) -> None:
    made = [administrator.create(visibility="shared") for _ in range(6)]
    copy.fill()
    with proxy.meeting(failing(503), to=ALL, skipping=len(made) // PAGE + 1), copy.unwritten():
        assert failed(copy.once())
    with proxy.meeting(failing(503), to=MEMBERS):
        copy.fill()
    assert [reason(image, proxy.url) for image in copy.images().values()] == [
        "An answer with status 503 occurred"
    ] * len(made)


def test_a_list_whose_marker_is_gone_is_begun_anew(
    copy: Copy, proxy: Proxy, glance: Glance, administrator: Images, images: list[str]
) -> None:
    marker = images[PAGE - 1]

    def vanish() -> None:
        administrator.delete(marker)
        glance.forget_deleted()

    before = len(proxy.requests)
    with proxy.meeting(after(vanish), to=NEXT_PAGE, times=1):
        copy.fill()
    assert copy.images() == truth(administrator)
    assert list(copy.tombstones()) == [marker]
    assert [request for request in proxy.requests[before:] if MEMBERS not in request] == [
        FIRST_PAGE,
        f"{FIRST_PAGE}&marker={marker}",
        FIRST_PAGE,
        f"{FIRST_PAGE}&marker={images[PAGE]}",
    ]


def test_a_marker_that_glance_remembers_is_none_that_is_gone(
    copy: Copy, proxy: Proxy, administrator: Images, images: list[str]
) -> None:
    marker = images[PAGE - 1]
    before = copy.images()
    with proxy.meeting(after(lambda: administrator.delete(marker)), to=NEXT_PAGE, times=1):
        copy.fill()
    assert copy.images() == before  # it was met
    copy.fill()
    assert copy.images() == truth(administrator)


def test_who_is_no_administrator_begins_anew_for_any_marker_that_is_gone(
    glance: Glance, cloud: Cloud, proxy: Proxy, member: Images, tmp_path: Path
) -> None:
    glance.empty()
    credentials = cloud.credentials(MEMBER, "ours") | {"image_endpoint_override": proxy.url}
    copy = Copy(tmp_path, as_variables(credentials))
    made = [member.create(visibility="private") for _ in range(PAGE + 1)]
    with proxy.meeting(after(lambda: member.delete(made[1])), to=NEXT_PAGE, times=1):
        copy.fill()
    assert copy.images() == truth(member)
    assert proxy.requests.count(FIRST_PAGE) == 2


AWAY: dict[str, Callable[[Proxy], AbstractContextManager[None]]] = {
    "refuses": lambda proxy: proxy.stopped(),
    "fails": lambda proxy: proxy.meeting(failing(503), to=ALL),
    "breaks off": lambda proxy: proxy.meeting(reset, to=ALL),
}


@pytest.mark.parametrize("way", AWAY)
def test_a_mirror_goes_on_when_glance_does(
    copy: Copy, proxy: Proxy, administrator: Images, images: list[str], way: str
) -> None:
    with copy.mirrored(*WHOLE) as mirror:
        mirror.await_passes()
        with AWAY[way](proxy):
            mirror.await_passes(which="failed")
            with copy.unwritten():
                rename(administrator)
                mirror.await_passes(which="failed")
        expected = truth(administrator)
        until(lambda: copy.images() == expected)
        assert mirror.terminate() == 0


def test_sigterm_ends_a_mirror_that_waits_for_glance(copy: Copy, proxy: Proxy, images: list[str]) -> None:
    before = len(proxy.requests)
    with proxy.meeting(silent(20), to=NEXT_PAGE), copy.mirrored(*WHOLE) as mirror, copy.unwritten():
        until(lambda: any(NEXT_PAGE in request for request in proxy.requests[before:]))
        assert mirror.terminate() == 0


def test_a_mirror_goes_on_when_keystone_does(
    copy: Copy, keystone: Keystone, administrator: Images, images: list[str]
) -> None:
    with keystone.stopped():
        assert failed(copy.once())
        with copy.mirrored(*WHOLE) as mirror, copy.unwritten():
            mirror.await_passes(2, which="failed")
    with copy.mirrored(*WHOLE) as mirror:
        mirror.await_passes()
        with keystone.stopped():
            mirror.await_passes(2, which="failed")
        administrator.create(visibility="private")
        expected = truth(administrator)
        until(lambda: copy.images() == expected)


def test_a_mirror_whose_token_runs_out_gets_another(copy: Copy, keystone: Keystone, images: list[str]) -> None:
    with keystone.restarted(token_seconds=2), copy.mirrored(*WHOLE) as mirror:
        mirror.await_passes(8)
        assert [line for line in mirror.said if "failed" in line] == []


def test_a_mirror_whose_token_is_revoked_gets_another(
    glance: Glance, cloud: Cloud, member: Images, tmp_path: Path
) -> None:
    glance.empty()
    member.create()
    copy = Copy(tmp_path, as_variables(cloud.credentials(MEMBER, "ours")))
    with copy.mirrored(*WHOLE) as mirror:
        mirror.await_passes()
        cloud.revoke_all(MEMBER)
        mirror.await_passes(3, which="All")


@pytest.mark.parametrize(
    "wrong",
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
def test_a_mirror_that_is_told_another_cloud_than_there_is_says_so(
    copy: Copy, images: list[str], wrong: dict[str, str]
) -> None:
    with copy.unwritten():
        assert failed(copy.once(**wrong))


def test_a_mirror_comes_less_and_less_often_while_glance_is_away(copy: Copy, proxy: Proxy) -> None:
    times = []

    def fail(exchange: Exchange) -> None:
        times.append(time.monotonic())
        failing(503)(exchange)

    with proxy.meeting(fail, to=LIST), copy.mirrored(*WHOLE):
        until(lambda: len(times) > 5)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[0] * 4 < pauses[4]
