"""What the mirror copies from a Glance, when, and with how many requests."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from app.errors import MirrorAlreadyRunning
from tests.integration.openstack.cloud import MEMBER, Cloud, as_variables
from tests.integration.openstack.component import installed
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.openstack.replica import Replica, expected_image, expected_images
from tests.integration.server.service import COMMAND, run, until
from tests.support.images import Fields

pytestmark = pytest.mark.external(install=[installed])

LIST = "GET /v2/images?limit=1000&visibility=all"

INCREMENTAL_LIST = f"{LIST}&updated_at=gte"

# All syncs but the first are incremental, or all are full.
INCREMENTAL_ONLY = ("--interval", "0.1", "--full-sync-interval", "1000")
FULL_ONLY = ("--interval", "0.1", "--full-sync-interval", "0")

IMAGES: dict[str, Fields] = {
    "plain": {},
    "without a name": {"name": None},
    "with a long name": {"name": "ü" * 255},
    "public": {"visibility": "public"},
    "private": {"visibility": "private"},
    "community": {"visibility": "community"},
    "shared with nobody": {"visibility": "shared"},
    "without an owner": {"visibility": "public", "owner": None},
    "with large requirements": {"min_disk": 2**31 - 1, "min_ram": 2**31 - 1},
    "with properties": {"architecture": "x86_64", "empty": "", "schlüssel / ~1": "wert\n", "long": "x" * 60_000},
    "with properties named like fields of Compute": {"created": "1", "progress": "2", "metadata": "3", "links": "4"},
    "made from a server": {"instance_uuid": "2f1d4f0a-43f8-4b7c-9a3c-1f6f2f9a7f44", "image_type": "snapshot"},
    "protected, with tags": {"protected": True, "tags": ["one", "two"]},
    "in a format": {"disk_format": "qcow2", "container_format": "bare"},
}

STATUSES = {  # by the status in Glance, of those that its lists show
    "queued": ("SAVING", 25),
    "saving": ("SAVING", 50),
    "active": ("ACTIVE", 100),
    "deactivated": ("UNKNOWN", 0),
    "importing": ("UNKNOWN", 0),
    "uploading": ("UNKNOWN", 0),
}


@pytest.fixture
def shared(replica: Replica, cloud: Cloud, member: Images, other_member: Images) -> str:
    image, project = member.create(visibility="shared"), cloud.projects["other"]
    member.share(image, project)
    other_member.accept(image, project)
    return image


def test_all_kinds_of_images_are_copied_once(replica: Replica, admin: Images, shared: str) -> None:
    made = {kind: admin.create(**fields) for kind, fields in IMAGES.items()}
    replica.sync()
    with replica.unchanged():
        replica.sync()
    copied, expected = replica.images(), expected_images(admin)
    assert {kind: copied[made[kind]] for kind in IMAGES} == {kind: expected[made[kind]] for kind in IMAGES}
    assert copied.keys() == expected.keys() == {*made.values(), shared}
    assert copied[shared] == expected[shared]


def test_images_in_all_states_are_copied(replica: Replica, glance: Glance, admin: Images) -> None:
    for status in STATUSES:
        glance.execute("UPDATE images SET status = ? WHERE id = ?", status, admin.create(name=status))
    replica.sync()
    assert replica.images() == expected_images(admin)
    assert {each["name"]: (each["status"], each["progress"]) for each in replica.images().values()} == STATUSES


def test_replica_has_the_images_that_its_user_sees(  # noqa: PLR0913, PLR0917 six fixtures
    replica: Replica, cloud: Cloud, admin: Images, member: Images, other_member: Images, tmp_path: Path
) -> None:
    for images in (admin, member, other_member):
        for visibility in ("private", "shared", "community"):
            images.create(visibility=visibility)
    replica.sync()
    assert len(replica.images()) == 9
    assert replica.images() == expected_images(admin)
    (tmp_path / "member").mkdir()
    replica_of_member = Replica(tmp_path / "member", as_variables(cloud.credentials(MEMBER, "main")))
    replica_of_member.sync()
    assert len(replica_of_member.images()) == 5
    assert replica_of_member.images() == expected_images(member)


def test_import_records_the_images_that_its_user_sees(
    replica: Replica, cloud: Cloud, admin: Images, member: Images, shared: str
) -> None:
    for kind in ("public", "private", "without an owner", "with properties named like fields of Compute"):
        admin.create(**IMAGES[kind])
    for user, variables in ((member, cloud.credentials(MEMBER, "main")), (admin, cloud.administrator())):
        result = replica.run("import", "--from-glance", "--prune", **as_variables(variables))
        assert result.returncode == 0, result.stderr
        assert replica.images() == expected_images(user)
        assert shared in replica.images()


def test_cloud_can_be_configured_in_clouds_yaml(replica: Replica, cloud: Cloud, admin: Images) -> None:
    admin.create()
    auth = cloud.administrator()
    clouds = {"clouds": {"test": {"region_name": auth.pop("region_name"), "auth": auth}}}
    (replica.folder / "clouds.yaml").write_text(yaml.safe_dump(clouds))
    variables = {"OS_CLOUD": "test", "IMAGES_CATALOG": str(replica.catalog), "HOME": str(replica.folder)}
    ended = run(COMMAND, "mirror", "--once", folder=replica.folder, **variables)  # searches its working directory
    assert ended.returncode == 0, ended.stderr
    assert replica.images() == expected_images(admin)


def test_members_are_the_projects_that_accepted(
    replica: Replica, cloud: Cloud, member: Images, other_member: Images
) -> None:
    image, other, foreign = member.create(), cloud.projects["other"], cloud.projects["foreign"]
    both = sorted([foreign, other])
    steps: list[tuple[Callable[[], None], list[str], list[str]]] = [
        (lambda: member.share(image, foreign), [], [foreign]),
        (lambda: member.share(image, other), [], both),
        (lambda: other_member.accept(image, other), [other], [foreign]),
        (lambda: other_member.accept(image, other, "rejected"), [], both),
        (lambda: other_member.accept(image, other), [other], [foreign]),
        (lambda: member.unshare(image, other), [], [foreign]),
        (lambda: member.share(image, other), [], both),
        (lambda: other_member.accept(image, other), [other], [foreign]),
        (lambda: member.set(image, visibility="private"), [], []),
    ]
    for step, members, pending in steps:
        step()
        replica.sync()
        copied = replica.images()[image]
        assert (copied["members"], copied["pending_members"]) == (members, pending)


def test_deleted_image_becomes_a_tombstone_that_does_not_change(replica: Replica, admin: Images) -> None:
    never_copied, deleted, other = (
        admin.create(name=name, key="value") for name in ("never copied", "deleted", "other")
    )
    admin.delete(never_copied)
    replica.sync()
    before = replica.images()
    admin.delete(deleted)
    replica.sync()
    with replica.unchanged():
        replica.sync()
    assert replica.images() == {other: before[other]}
    (tombstone,) = replica.tombstones().values()
    assert tombstone["updated"] >= before[deleted]["updated"]
    assert tombstone == before[deleted] | {"status": "DELETED", "progress": 0, "updated": tombstone["updated"]}


@pytest.mark.parametrize("status", ["deleted", "pending_delete"])
def test_image_that_is_being_deleted_becomes_a_tombstone(
    replica: Replica, glance: Glance, admin: Images, status: str
) -> None:
    image = admin.create()
    replica.sync()
    glance.execute("UPDATE images SET status = ?", status)
    replica.sync()
    assert (list(replica.images()), list(replica.tombstones())) == ([], [image])


def test_hidden_image_is_copied_as_hidden(replica: Replica, admin: Images) -> None:
    image, _ = admin.create(), admin.create(os_hidden=True)
    for hidden in (False, True, False):
        admin.set(image, os_hidden=hidden)
        replica.sync()
        shown = {image: admin.show(image) for image in replica.images()}
        assert replica.images() == {id_: expected_image(fields, {}) for id_, fields in shown.items()}
        assert (len(shown), replica.images()[image]["os_hidden"]) == (2, hidden)
        assert replica.tombstones() == {}


def test_image_whose_upload_failed_is_copied_until_it_is_deleted(
    replica: Replica, glance: Glance, admin: Images
) -> None:
    image = admin.create()
    replica.sync()
    glance.execute("UPDATE images SET status = 'killed'")
    replica.sync()
    assert {each["status"] for each in replica.images().values()} == {"ERROR"}
    admin.delete(image)
    replica.sync()
    assert (list(replica.images()), list(replica.tombstones())) == ([], [image])


def test_full_sync_requests_only_pages_and_members(replica: Replica, glance: Glance, admin: Images) -> None:
    made = [admin.create(visibility=visibility) for visibility in ("private", "shared", "community") * 2]
    made.append(admin.create(visibility="public"))
    with glance.restarted(page=3):
        before = len(glance.requests)
        replica.sync()
        requests = glance.requests[before:]
    newest_first = made[::-1]
    assert sorted(requests) == sorted(
        [
            LIST,
            f"{LIST}&os_hidden=true",
            f"{LIST}&marker={newest_first[2]}",
            f"{LIST}&marker={newest_first[5]}",
            f"GET /v2/images/{made[1]}/members",
            f"GET /v2/images/{made[4]}/members",
        ]
    )


def test_incremental_sync_without_changes_sends_two_requests_and_writes_nothing(
    replica: Replica, glance: Glance, admin: Images, shared: str
) -> None:
    for fields in IMAGES.values():
        admin.create(**fields)
    before = len(glance.requests)
    with replica.mirrored(*INCREMENTAL_ONLY) as mirror:
        mirror.await_syncs(matching="Incremental")
        with replica.unchanged():
            mirror.await_syncs(5)
        assert mirror.terminate() == 0
        requests = [request.partition("%3A")[0] for request in glance.requests[before:]]
        syncs = [line for line in mirror.lines if "Incremental sync" in line]
    incremental = requests[requests.index(INCREMENTAL_LIST) :]
    assert set(incremental) == {INCREMENTAL_LIST}
    assert len(incremental) - 2 * len(syncs) in {0, 1, 2}  # the last sync may have been stopped
    report = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (Full|Incremental) sync: .*\.")
    assert [line for line in mirror.lines if not report.fullmatch(line)] == []


Change = Callable[[Images, str], object]

EDITS: dict[str, Change] = {
    "new image": lambda images, _: images.create(name="new", visibility="private"),
    "name": lambda images, image: images.set(image, name="other"),
    "new property": lambda images, image: images.set(image, new="value"),
    "property": lambda images, image: images.set(image, key="other"),
    "removed property": lambda images, image: images.unset(image, "key"),
    "data": lambda images, image: images.upload(image),
    "requirements": lambda images, image: images.set(image, min_disk=1, min_ram=2),
    "visibility": lambda images, image: images.set(image, visibility="public"),
    "owner": lambda images, image: images.set(image, owner="0" * 32),
}


@pytest.mark.parametrize("change", EDITS)
def test_incremental_sync_copies_a_change(replica: Replica, admin: Images, change: str) -> None:
    image, _ = (admin.create(key="value", visibility="private") for _ in range(2))
    with replica.mirrored(*INCREMENTAL_ONLY) as mirror:
        mirror.await_syncs(matching="Full")
        EDITS[change](admin, image)
        expected = expected_images(admin)
        until(lambda: replica.images() == expected)
        assert len([line for line in mirror.lines if "Full sync" in line]) == 1


def test_deactivation_and_reactivation_are_copied(replica: Replica, admin: Images) -> None:
    def status() -> str:
        return str(replica.images()[image]["status"])

    image = admin.create()
    admin.upload(image)
    with replica.mirrored(*INCREMENTAL_ONLY) as mirror:
        mirror.await_syncs()
        assert status() == "ACTIVE"
        admin.act(image, "deactivate")
        until(lambda: status() == "UNKNOWN")
        admin.act(image, "reactivate")
        until(lambda: status() == "ACTIVE")


def test_no_change_of_many_in_one_second_is_missed(replica: Replica, admin: Images) -> None:
    images = [admin.create(visibility="private") for _ in range(3)]
    with replica.mirrored(*INCREMENTAL_ONLY) as mirror:
        mirror.await_syncs(matching="Full")
        for number in range(60):
            admin.set(images[number % 3], number=str(number))
        expected = expected_images(admin)
        until(lambda: replica.images() == expected)


def test_deletion_is_detected_by_full_syncs_only(replica: Replica, admin: Images) -> None:
    image = admin.create()
    replica.sync()
    admin.delete(image)  # not during a sync, which might list the image while it is being deleted
    with replica.mirrored(*INCREMENTAL_ONLY) as mirror:
        mirror.await_syncs(2)
        assert list(replica.images()) == [image]
    with replica.mirrored(*FULL_ONLY) as mirror:
        mirror.await_syncs(2)
        assert (list(replica.images()), list(replica.tombstones())) == ([], [image])


def test_three_thousand_images_are_copied(replica: Replica, glance: Glance, cloud: Cloud, admin: Images) -> None:
    glance.fill(cloud.projects["main"], 3000, architecture="x86_64", os_distro="debian", os_version="13")
    replica.sync()
    copied = replica.images()
    assert copied == expected_images(admin)
    assert len(copied) == 3000


def test_second_mirror_of_a_catalog_is_rejected_until_the_first_ends(replica: Replica) -> None:
    with replica.mirrored("--interval", "1000") as mirror:
        mirror.await_syncs()
        second = replica.sync_once()
        error = MirrorAlreadyRunning(str(replica.catalog))
        assert (second.returncode, second.stderr) == (1, f"Error: {error}\n")
        mirror.process.kill()
        mirror.process.wait()
    with replica.mirrored("--interval", "1000") as mirror:
        mirror.await_syncs()
        assert mirror.terminate() == 0
