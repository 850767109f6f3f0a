"""Who may do what, where Keystone tells who is calling."""

from collections.abc import Callable

import pytest

from tests.integration.openstack.calls import call
from tests.integration.openstack.cloud import Cloud
from tests.integration.openstack.conftest import IMAGES, PUBLIC, PUBLIC_URL, UNOWNED
from tests.integration.openstack.keystone import Keystone
from tests.integration.server.service import Service, until
from tests.integration.server.wire import Answer, ask, request
from tests.support.images import Fields, image_id

Way = tuple[str, str, Fields | None]

METADATA, ITEM = {"metadata": {"key": "value"}}, {"meta": {"key": "value"}}

READS: dict[str, Way] = {
    "list": ("GET", "", None),
    "show": ("GET", "/{image}", None),
    "metadata": ("GET", "/{image}/metadata", None),
    "item": ("GET", "/{image}/metadata/key", None),
}
CHANGES: dict[str, Way] = {
    "update": ("POST", "/{image}/metadata", METADATA),
    "replace": ("PUT", "/{image}/metadata", METADATA),
    "set": ("PUT", "/{image}/metadata/key", ITEM),
    "unset": ("DELETE", "/{image}/metadata/key", None),
    "delete": ("DELETE", "/{image}", None),
}
WAYS = READS | CHANGES
TO_AN_IMAGE = [name for name in WAYS if name != "list"]

# The projects that a token opens.
OPENED = {
    "a member's": ["ours"],
    "a stranger's": ["theirs"],
    "of another domain": ["elsewhere"],
    "an administrator's": ["ours", "theirs", "elsewhere"],
    "an administrator's, of the domain": [],
    "an administrator's, of the system": [],
    "of no project": [],
}

# What is sent for a token, and is none.
NONE = {
    "empty": "",
    "garbage": "garbage",
    "unknown": "gAAAAABq" + "x" * 176,
    "with a space": "two words",
    "not ASCII": "schlüssel",
    "long": "x" * 8_000,
}

Go = Callable[..., Answer]


@pytest.fixture
def go(service: Service, cloud: Cloud) -> Go:
    """Give a function that goes some way with a token: in our project to our image, unless told."""

    def go(token: str, way: str, project: str = "ours", image: str = IMAGES["ours"]) -> Answer:
        method, path, document = WAYS[way]
        target = f"/v2/{cloud.projects[project]}/images{path.format(image=image)}"
        return call(service, token, target, method=method, document=document)

    return go


@pytest.mark.parametrize("way", ["show", "replace"])
@pytest.mark.parametrize("kind", OPENED)
def test_a_token_opens_its_own_project(go: Go, tokens: dict[str, str], kind: str, way: str) -> None:
    answers = {project: go(tokens[kind], way, project, image) for project, image in IMAGES.items()}
    closed = {project: answer.fault for project, answer in answers.items() if answer.status != 200}
    assert closed == {project: (403, "forbidden") for project in IMAGES if project not in OPENED[kind]}


def test_a_reader_reads(go: Go, tokens: dict[str, str]) -> None:
    assert {way: go(tokens["a reader's"], way).status for way in READS} == dict.fromkeys(READS, 200)


@pytest.mark.parametrize("kind", ["expired", "revoked", *NONE])
def test_what_is_no_token_opens_nothing(go: Go, tokens: dict[str, str], kind: str) -> None:
    token = tokens.get(kind) or NONE[kind]
    assert {way: go(token, way).fault for way in WAYS} == dict.fromkeys(WAYS, (401, "unauthorized"))


@pytest.mark.parametrize("headers", [[], ["X-Auth-Token: garbage"]])
def test_who_has_no_token_is_told_where_to_get_one(
    told_by_variables: Service, told_by_a_file: Service, cloud: Cloud, keystone: Keystone, headers: list[str]
) -> None:
    asked = request(f"/v2/{cloud.projects['ours']}/images", *headers)
    answers = [ask(service.port, asked) for service in (told_by_variables, told_by_a_file)]
    assert [answer.fault for answer in answers] == [(401, "unauthorized")] * 2
    assert [answer.headers["www-authenticate"] for answer in answers] == [
        f'Keystone uri="{keystone.url}"',
        f'Keystone uri="{PUBLIC_URL}"',
    ]


@pytest.mark.parametrize("way", TO_AN_IMAGE)
def test_the_private_image_of_another_project_is_as_one_that_is_not_there(
    go: Go, tokens: dict[str, str], way: str
) -> None:
    token = tokens["a member's"]
    theirs, missing = go(token, way, image=IMAGES["theirs"]), go(token, way, image=image_id(99))
    assert theirs.fault == (404, "itemNotFound")
    assert theirs.body == missing.body
    assert theirs.headers.keys() == missing.headers.keys()


@pytest.mark.parametrize("way", CHANGES)
def test_what_others_own_or_nobody_is_read_and_not_changed(go: Go, tokens: dict[str, str], way: str) -> None:
    token = tokens["a member's"]
    for image in (PUBLIC, UNOWNED):
        before = go(token, "show", image=image)
        assert go(token, way, image=image).fault == (403, "forbidden")
        assert go(token, "show", image=image).body == before.body


def test_what_nobody_owns_is_changed_by_administrators(go: Go, tokens: dict[str, str]) -> None:
    token = tokens["an administrator's"]
    statuses = {way: go(token, way, image=UNOWNED).status for way in CHANGES if way != "delete"}
    assert statuses == {"update": 200, "replace": 200, "set": 200, "unset": 204}


def test_an_administrator_sees_what_the_project_sees(go: Go, tokens: dict[str, str]) -> None:
    token = tokens["an administrator's"]
    lists = {project: go(token, "list", project).images for project in IMAGES}
    assert lists == {project: [image, UNOWNED, PUBLIC] for project, image in IMAGES.items()}


def test_a_token_that_is_revoked_is_believed_in_for_some_seconds_at_most(forgetful: Service, cloud: Cloud) -> None:
    token, target = cloud.token(), f"/v2/{cloud.projects['ours']}/images"
    assert call(forgetful, token, target).status == 200
    cloud.revoke(token)
    until(lambda: call(forgetful, token, target).status != 200)
    assert call(forgetful, token, target).fault == (401, "unauthorized")


def test_a_token_that_runs_out_is_not_believed_in_any_more(told_by_variables: Service, cloud: Cloud) -> None:
    token, target = cloud.brief_token(4), f"/v2/{cloud.projects['ours']}/images"
    assert call(told_by_variables, token, target).status == 200
    until(lambda: call(told_by_variables, token, target).status != 200)  # long before what Keystone said is forgotten
    assert call(told_by_variables, token, target).fault == (401, "unauthorized")
