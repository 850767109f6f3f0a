"""What the mirror copies from a Glance, when, and with how many questions."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.integration.openstack.cloud import MEMBER, Cloud, as_variables
from tests.integration.openstack.copies import Copy, truth
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.server.service import until
from tests.support.images import Fields

LIST = "GET /v2/images?limit=1000&visibility=all"

# Often, so that all passes but the first are over what changed; or so that all are over all images.
CHANGES = ("--every", "0.1", "--whole-every", "1000")
WHOLE = ("--every", "0.1", "--whole-every", "0")

KINDS: dict[str, Fields] = {
    "plain": {},
    "without a name": {"name": None},
    "with a long name": {"name": "ü" * 255},
    "public": {"visibility": "public"},
    "private": {"visibility": "private"},
    "community": {"visibility": "community"},
    "shared with nobody": {"visibility": "shared"},
    "of nobody": {"visibility": "public", "owner": None},
    "that needs much": {"min_disk": 2**31 - 1, "min_ram": 2**31 - 1},
    "with properties": {"architecture": "x86_64", "empty": "", "schlüssel / ~1": "wert\n", "long": "x" * 60_000},
    "with properties that Compute has fields for": {"created": "1", "progress": "2", "metadata": "3", "links": "4"},
    "made from a server": {"instance_uuid": "2f1d4f0a-43f8-4b7c-9a3c-1f6f2f9a7f44", "image_type": "snapshot"},
    "protected, with tags": {"protected": True, "tags": ["one", "two"]},
    "in a format": {"disk_format": "qcow2", "container_format": "bare"},
}

STATUSES = {  # of those in which Glance lists images
    "queued": ("SAVING", 25),
    "saving": ("SAVING", 50),
    "active": ("ACTIVE", 100),
    "deactivated": ("UNKNOWN", 0),
    "importing": ("UNKNOWN", 0),
    "uploading": ("UNKNOWN", 0),
}


@pytest.fixture
def shared(copy: Copy, cloud: Cloud, member: Images, stranger: Images) -> str:
    """Have an image of ours that they accepted."""
    image, theirs = member.create(visibility="shared"), cloud.projects["theirs"]
    member.share(image, theirs)
    stranger.accept(image, theirs)
    return image


def test_all_kinds_of_images_are_copied(copy: Copy, administrator: Images) -> None:
    made = {kind: administrator.create(**fields) for kind, fields in KINDS.items()}
    copy.fill()
    copied, expected = copy.images(), truth(administrator)
    assert {kind: copied[made[kind]] for kind in KINDS} == {kind: expected[made[kind]] for kind in KINDS}
    assert copied.keys() == expected.keys()


def test_images_in_all_states_are_copied(copy: Copy, glance: Glance, administrator: Images) -> None:
    for status in STATUSES:
        glance.execute("UPDATE images SET status = ? WHERE id = ?", status, administrator.create(name=status))
    copy.fill()
    assert copy.images() == truth(administrator)
    assert {each["name"]: (each["status"], each["progress"]) for each in copy.images().values()} == STATUSES


def test_images_of_all_projects_are_copied(
    copy: Copy, cloud: Cloud, administrator: Images, member: Images, stranger: Images
) -> None:
    for images in (administrator, member, stranger):
        for visibility in ("private", "shared", "community"):
            images.create(visibility=visibility)
    copy.fill()
    assert len(copy.images()) == 9
    assert copy.images() == truth(administrator)


def test_who_sees_little_copies_little(
    glance: Glance, cloud: Cloud, member: Images, stranger: Images, tmp_path: Path
) -> None:
    glance.empty()
    for images in (member, stranger):
        for visibility in ("private", "shared", "community"):
            images.create(visibility=visibility, name=visibility)
    copy = Copy(tmp_path, as_variables(cloud.credentials(MEMBER, "ours")))
    copy.fill()
    assert len(copy.images()) == 4
    assert copy.images() == truth(member)


def test_the_cloud_may_be_told_by_a_file(copy: Copy, cloud: Cloud, administrator: Images) -> None:
    administrator.create()
    told = cloud.administrator()
    clouds = {"clouds": {"tried": {"region_name": told.pop("region_name"), "auth": told}}}
    (copy.folder / "clouds.yaml").write_text(yaml.safe_dump(clouds))
    by_file = Copy(copy.folder, {"OS_CLOUD": "tried"})
    by_file.fill()
    assert by_file.images() == truth(administrator)


def test_members_are_those_that_accepted(copy: Copy, cloud: Cloud, member: Images, stranger: Images) -> None:
    image, theirs, elsewhere = member.create(), cloud.projects["theirs"], cloud.projects["elsewhere"]
    steps: list[tuple[Callable[[], None], list[str]]] = [
        (lambda: member.share(image, elsewhere), []),
        (lambda: member.share(image, theirs), []),
        (lambda: stranger.accept(image, theirs), [theirs]),
        (lambda: stranger.accept(image, theirs, "rejected"), []),
        (lambda: stranger.accept(image, theirs), [theirs]),
        (lambda: member.unshare(image, theirs), []),
    ]
    for step, members in steps:
        step()
        copy.fill()
        assert copy.images()[image]["members"] == members


def test_an_image_that_is_shared_no_longer_has_no_members(copy: Copy, administrator: Images, shared: str) -> None:
    copy.fill()
    administrator.set(shared, visibility="private")
    copy.fill()
    assert copy.images() == truth(administrator)


def test_an_image_that_is_gone_leaves_a_tombstone(copy: Copy, administrator: Images) -> None:
    gone, stays = (administrator.create(name=name, key="value") for name in ("gone", "stays"))
    copy.fill()
    before = copy.images()
    administrator.delete(gone)
    copy.fill()
    assert copy.images() == {stays: before[stays]}
    (tombstone,) = copy.tombstones().values()
    assert tombstone["updated"] >= before[gone]["updated"]
    assert tombstone == before[gone] | {"status": "DELETED", "progress": 0, "updated": tombstone["updated"]}


@pytest.mark.parametrize("status", ["deleted", "pending_delete"])
def test_an_image_that_is_being_deleted_is_gone(copy: Copy, glance: Glance, administrator: Images, status: str) -> None:
    image = administrator.create()
    copy.fill()
    glance.execute("UPDATE images SET status = ?", status)
    copy.fill()
    assert (list(copy.images()), list(copy.tombstones())) == ([], [image])


def test_a_tombstone_does_not_change_any_more(copy: Copy, administrator: Images) -> None:
    administrator.delete(administrator.create())
    image = administrator.create()
    copy.fill()
    administrator.delete(image)
    copy.fill()
    with copy.unwritten():
        copy.fill()
    assert list(copy.tombstones()) == [image]


def test_a_hidden_image_is_as_one_that_is_gone_until_it_is_shown(copy: Copy, administrator: Images) -> None:
    image = administrator.create()
    copy.fill()
    administrator.set(image, os_hidden=True)
    copy.fill()
    assert (list(copy.images()), list(copy.tombstones())) == ([], [image])
    administrator.set(image, os_hidden=False)
    copy.fill()
    assert (list(copy.images()), list(copy.tombstones())) == ([image], [])


def test_a_pass_over_all_images_asks_for_pages_and_for_members_and_for_nothing_else(
    copy: Copy, glance: Glance, administrator: Images
) -> None:
    made = [administrator.create(visibility=visibility) for visibility in ("private", "shared", "community") * 2]
    made.append(administrator.create(visibility="public"))
    with glance.restarted(page=3):
        before = len(glance.requests)
        copy.fill()
        asked = glance.requests[before:]
    newest_first = made[::-1]
    assert sorted(asked) == sorted(
        [
            LIST,
            f"{LIST}&marker={newest_first[2]}",
            f"{LIST}&marker={newest_first[5]}",
            f"GET /v2/images/{made[1]}/members",
            f"GET /v2/images/{made[4]}/members",
        ]
    )


def test_a_pass_that_finds_nothing_new_asks_once_and_writes_nothing(
    copy: Copy, glance: Glance, administrator: Images, shared: str
) -> None:
    for fields in KINDS.values():
        administrator.create(**fields)
    with copy.mirrored(*CHANGES) as mirror:
        mirror.await_passes(which="All")
        mirror.await_passes(which="Changed")
        before = len(glance.requests)
        with copy.unwritten():
            mirror.await_passes(5)
            passes, asked = mirror.said, glance.requests[before:]
        assert mirror.terminate() == 0
    assert {re.sub("%3A.*", "", request) for request in asked} == {f"{LIST}&updated_at=gte"}
    assert len(asked) - 5 in {0, 1}  # the next pass may have begun
    assert len(passes) == 7


def test_a_pass_over_all_images_that_finds_nothing_new_writes_nothing(
    copy: Copy, administrator: Images, shared: str
) -> None:
    for fields in KINDS.values():
        administrator.create(**fields)
    copy.fill()
    with copy.unwritten():
        copy.fill()


Change = Callable[[Images, str], object]

MADE: dict[str, Change] = {
    "an image that is new": lambda images, _: images.create(name="new", visibility="private"),
    "a name": lambda images, image: images.set(image, name="other"),
    "a property that is new": lambda images, image: images.set(image, new="value"),
    "a property": lambda images, image: images.set(image, key="other"),
    "a property that is no more": lambda images, image: images.unset(image, "key"),
    "data": lambda images, image: images.upload(image),
    "what is needed": lambda images, image: images.set(image, min_disk=1, min_ram=2),
    "who sees it": lambda images, image: images.set(image, visibility="public"),
    "who owns it": lambda images, image: images.set(image, owner="0" * 32),
}


@pytest.mark.parametrize("change", MADE)
def test_what_changed_is_copied_before_all_images_are_gone_over(copy: Copy, administrator: Images, change: str) -> None:
    image, _ = (administrator.create(key="value", visibility="private") for _ in range(2))
    with copy.mirrored(*CHANGES) as mirror:
        mirror.await_passes(which="All")
        MADE[change](administrator, image)
        expected = truth(administrator)
        until(lambda: copy.images() == expected)
        assert len([line for line in mirror.said if "All images" in line]) == 1


def test_an_image_that_is_deactivated_and_reactivated_is_copied_each_time(copy: Copy, administrator: Images) -> None:
    def status() -> str:
        return str(copy.images()[image]["status"])

    image = administrator.create()
    administrator.upload(image)
    with copy.mirrored(*CHANGES) as mirror:
        mirror.await_passes()
        assert status() == "ACTIVE"
        administrator.deactivate(image)
        until(lambda: status() == "UNKNOWN")
        administrator.reactivate(image)
        until(lambda: status() == "ACTIVE")


def test_of_many_changes_in_a_second_none_is_missed(copy: Copy, administrator: Images) -> None:
    images = [administrator.create(visibility="private") for _ in range(3)]
    with copy.mirrored(*CHANGES) as mirror:
        mirror.await_passes(which="All")
        for number in range(60):
            administrator.set(images[number % 3], number=str(number))
        expected = truth(administrator)
        until(lambda: copy.images() == expected)


def test_what_is_gone_is_found_out_when_all_images_are_gone_over(copy: Copy, administrator: Images) -> None:
    image = administrator.create()
    with copy.mirrored(*CHANGES) as mirror:
        mirror.await_passes(which="All")
        administrator.delete(image)
        mirror.await_passes(2)
        assert list(copy.images()) == [image]
    with copy.mirrored(*WHOLE) as mirror:
        mirror.await_passes(2)
        assert (list(copy.images()), list(copy.tombstones())) == ([], [image])


def test_three_thousand_images_are_copied(copy: Copy, glance: Glance, cloud: Cloud, administrator: Images) -> None:
    glance.fill(cloud.projects["ours"], 3000, architecture="x86_64", os_distro="debian", os_version="13")
    copy.fill()
    copied = copy.images()
    assert copied == truth(administrator)
    assert len(copied) == 3000


def test_a_line_is_said_of_each_pass(copy: Copy, administrator: Images) -> None:
    administrator.create(visibility="private")
    with copy.mirrored(*CHANGES) as mirror:
        mirror.await_passes(3)
        administrator.create(visibility="private")
        mirror.await_passes(which=r"\b1 new\b")
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert [line for line in mirror.said if not re.fullmatch(rf"{time} (All|Changed) images: .*\.", line)] == []


def test_sigterm_ends_a_mirror(copy: Copy) -> None:
    with copy.mirrored("--every", "1000") as mirror:
        mirror.await_passes()
        assert mirror.terminate() == 0


def test_a_second_mirror_of_a_catalog_says_so_and_ends(copy: Copy) -> None:
    with copy.mirrored("--every", "1000") as mirror:
        mirror.await_passes()
        second = copy.once()
        assert (second.returncode, second.stderr) == (
            1,
            f"Error: Another mirror copies into {copy.catalog} already.\n",
        )
        mirror.process.kill()
        mirror.process.wait()
    copy.fill()
