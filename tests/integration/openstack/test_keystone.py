"""Permissions of callers with Keystone's tokens."""

from collections.abc import Callable

import pytest

from tests.integration.openstack.calls import call
from tests.integration.openstack.cloud import Cloud
from tests.integration.openstack.component import installed
from tests.integration.openstack.conftest import IMAGES, PUBLIC, PUBLIC_URL, UNOWNED
from tests.integration.openstack.keystone import Keystone
from tests.integration.server.service import Service, until
from tests.integration.server.wire import Response, fetch, request
from tests.support.images import Fields, image_id

pytestmark = pytest.mark.external(install=[installed])

Operation = tuple[str, str, Fields | None]

METADATA, ITEM = {"metadata": {"key": "value"}}, {"meta": {"key": "value"}}

READS: dict[str, Operation] = {
    "list": ("GET", "", None),
    "show": ("GET", "/{image}", None),
    "metadata": ("GET", "/{image}/metadata", None),
    "item": ("GET", "/{image}/metadata/key", None),
}
CHANGES: dict[str, Operation] = {
    "update": ("POST", "/{image}/metadata", METADATA),
    "replace": ("PUT", "/{image}/metadata", METADATA),
    "set item": ("PUT", "/{image}/metadata/key", ITEM),
    "delete item": ("DELETE", "/{image}/metadata/key", None),
    "delete": ("DELETE", "/{image}", None),
}
OPERATIONS = READS | CHANGES
ON_AN_IMAGE = [name for name in OPERATIONS if name != "list"]

# The projects that a token gives access to.
ACCESS = {
    "a member's": ["main"],
    "another member's": ["other"],
    "of another domain": ["foreign"],
    "an admin's": ["main", "other", "foreign"],
    "an admin's, for the domain": [],
    "an admin's, for the system": [],
    "unscoped": [],
}

INVALID_TOKENS = {
    "empty": "",
    "garbage": "garbage",
    "unknown": "gAAAAABq" + "x" * 176,
    "with a space": "two words",
    "not ASCII": "schlüssel",
    "long": "x" * 8_000,
}

Send = Callable[..., Response]


@pytest.fixture
def send(service: Service, cloud: Cloud) -> Send:
    """Return a function that sends an operation with a token, by default for the main project and its image."""

    def send(token: str, operation: str, project: str = "main", image: str = IMAGES["main"]) -> Response:
        method, path, document = OPERATIONS[operation]
        target = f"/v2/{cloud.projects[project]}/images{path.format(image=image)}"
        return call(service, token, target, method=method, document=document)

    return send


@pytest.mark.parametrize("operation", ["show", "replace"])
@pytest.mark.parametrize("kind", ACCESS)
def test_token_gives_access_to_its_own_project(send: Send, tokens: dict[str, str], kind: str, operation: str) -> None:
    responses = {project: send(tokens[kind], operation, project, image) for project, image in IMAGES.items()}
    denied = {project: each.fault for project, each in responses.items() if each.status != 200}
    assert denied == {project: (403, "forbidden") for project in IMAGES if project not in ACCESS[kind]}


def test_reader_role_is_enough_to_read(send: Send, tokens: dict[str, str]) -> None:
    assert {read: send(tokens["a reader's"], read).status for read in READS} == dict.fromkeys(READS, 200)


@pytest.mark.parametrize("kind", ["expired", "revoked", *INVALID_TOKENS])
def test_invalid_token_is_unauthorized(send: Send, tokens: dict[str, str], kind: str) -> None:
    token = tokens.get(kind) or INVALID_TOKENS[kind]
    assert {each: send(token, each).fault for each in OPERATIONS} == dict.fromkeys(OPERATIONS, (401, "unauthorized"))


@pytest.mark.parametrize("headers", [[], ["X-Auth-Token: garbage"]])
def test_challenge_names_the_uri_of_keystone(
    service_with_variables: Service, service_with_file: Service, cloud: Cloud, keystone: Keystone, headers: list[str]
) -> None:
    message = request(f"/v2/{cloud.projects['main']}/images", *headers)
    responses = [fetch(service.port, message) for service in (service_with_variables, service_with_file)]
    assert [each.fault for each in responses] == [(401, "unauthorized")] * 2
    assert [each.headers["www-authenticate"] for each in responses] == [
        f'Keystone uri="{keystone.url}"',
        f'Keystone uri="{PUBLIC_URL}"',
    ]


@pytest.mark.parametrize("operation", ON_AN_IMAGE)
def test_private_image_of_another_project_looks_like_a_missing_one(
    send: Send, tokens: dict[str, str], operation: str
) -> None:
    token = tokens["a member's"]
    private, missing = (send(token, operation, image=image) for image in (IMAGES["other"], image_id(99)))
    assert private.fault == (404, "itemNotFound")
    assert private.body == missing.body
    assert private.headers.keys() == missing.headers.keys()


@pytest.mark.parametrize("operation", CHANGES)
def test_public_image_of_others_or_without_owner_is_read_only(
    send: Send, tokens: dict[str, str], operation: str
) -> None:
    token = tokens["a member's"]
    for image in (PUBLIC, UNOWNED):
        before = send(token, "show", image=image)
        assert send(token, operation, image=image).fault == (403, "forbidden")
        assert send(token, "show", image=image).body == before.body


def test_admin_can_change_an_image_without_owner(send: Send, tokens: dict[str, str]) -> None:
    token = tokens["an admin's"]
    statuses = {each: send(token, each, image=UNOWNED).status for each in CHANGES if each != "delete"}
    assert statuses == {"update": 200, "replace": 200, "set item": 200, "delete item": 204}


def test_admin_sees_what_the_project_sees(send: Send, tokens: dict[str, str]) -> None:
    token = tokens["an admin's"]
    lists = {project: send(token, "list", project).images for project in IMAGES}
    assert lists == {project: [image, UNOWNED, PUBLIC] for project, image in IMAGES.items()}


def test_revoked_token_is_accepted_until_its_cached_validation_expires(
    service_with_short_cache: Service, cloud: Cloud
) -> None:
    token, target = cloud.token(), f"/v2/{cloud.projects['main']}/images"
    assert call(service_with_short_cache, token, target).status == 200
    cloud.revoke(token)
    until(lambda: call(service_with_short_cache, token, target).status != 200)
    assert call(service_with_short_cache, token, target).fault == (401, "unauthorized")


def test_expired_token_is_unauthorized_although_its_validation_is_cached(
    service_with_variables: Service, cloud: Cloud
) -> None:
    token, target = cloud.short_lived_token(4), f"/v2/{cloud.projects['main']}/images"
    assert call(service_with_variables, token, target).status == 200
    until(lambda: call(service_with_variables, token, target).status != 200)  # long before the cache time ends
    assert call(service_with_variables, token, target).fault == (401, "unauthorized")
