"""Keystone's validation of tokens, on which the service relies."""

import pytest

from tests.integration.openstack.cloud import MEMBER, OTHER_MEMBER, SERVICE, Cloud
from tests.integration.openstack.component import installed
from tests.integration.openstack.keystone import Keystone

pytestmark = pytest.mark.external(install=[installed])

MAIN, OTHER, FOREIGN = ("main", "Default"), ("other", "Default"), ("main", "other")

ALL = {"admin", "manager", "member", "reader"}

# The project and its domain, if any, and the roles there.
TOKENS: dict[str, tuple[tuple[str, str] | None, set[str]]] = {
    "a member's": (MAIN, {"member", "reader"}),
    "a reader's": (MAIN, {"reader"}),
    "another member's": (OTHER, {"member", "reader"}),
    "of another domain": (FOREIGN, {"member", "reader"}),
    "an admin's": (("admin", "Default"), ALL),
    "an admin's, for the domain": (None, ALL),
    "an admin's, for the system": (None, ALL),
    "unscoped": (None, set()),
}


@pytest.mark.parametrize("kind", TOKENS)
def test_token_has_a_project_and_roles(cloud: Cloud, tokens: dict[str, str], kind: str) -> None:
    token = cloud.validate(tokens[kind]).json()["token"]
    project = token.get("project")
    roles = {role["name"] for role in token.get("roles", [])}
    assert (project and (project["name"], project["domain"]["name"]), roles) == TOKENS[kind]


@pytest.mark.parametrize("kind", ["expired", "revoked"])
def test_expired_and_revoked_tokens_are_not_found(cloud: Cloud, tokens: dict[str, str], kind: str) -> None:
    assert cloud.validate(tokens[kind]).status_code == 404


def test_service_role_is_enough_to_validate_tokens(cloud: Cloud, tokens: dict[str, str]) -> None:
    users = (SERVICE, OTHER_MEMBER)
    responses = {user: cloud.validate(tokens["a member's"], by=cloud.token(user)) for user in users}
    assert {user: response.status_code for user, response in responses.items()} == {SERVICE: 200, OTHER_MEMBER: 403}


def test_all_tokens_of_a_user_are_revoked(cloud: Cloud) -> None:
    before = cloud.token(SERVICE)
    cloud.revoke_all(SERVICE)
    assert [cloud.validate(token).status_code for token in (before, cloud.token(SERVICE))] == [404, 200]


def test_tokens_survive_a_restart_of_keystone(keystone: Keystone, cloud: Cloud) -> None:
    token = cloud.token(MEMBER)
    with keystone.stopped():
        pass
    assert cloud.validate(token).status_code == 200
