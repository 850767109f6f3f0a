"""What Keystone says of tokens, to whom: the ground that the service stands on."""

import pytest

from tests.integration.openstack.cloud import MEMBER, SERVICE, STRANGER, Cloud
from tests.integration.openstack.keystone import Keystone

OURS, THEIRS, ELSEWHERE = ("ours", "Default"), ("theirs", "Default"), ("ours", "other")

ALL = {"admin", "manager", "member", "reader"}

# The project and its domain, and the roles there; some are of no project.
VERDICTS: dict[str, tuple[tuple[str, str] | None, set[str]]] = {
    "a member's": (OURS, {"member", "reader"}),
    "a reader's": (OURS, {"reader"}),
    "a stranger's": (THEIRS, {"member", "reader"}),
    "of another domain": (ELSEWHERE, {"member", "reader"}),
    "an administrator's": (("admin", "Default"), ALL),
    "an administrator's, of the domain": (None, ALL),
    "an administrator's, of the system": (None, ALL),
    "of no project": (None, set()),
}


@pytest.mark.parametrize("kind", VERDICTS)
def test_a_token_tells_its_project_and_roles(cloud: Cloud, tokens: dict[str, str], kind: str) -> None:
    verdict = cloud.verdict(tokens[kind]).json()["token"]
    project = verdict.get("project")
    roles = {role["name"] for role in verdict.get("roles", [])}
    assert (project and (project["name"], project["domain"]["name"]), roles) == VERDICTS[kind]


@pytest.mark.parametrize("kind", ["expired", "revoked"])
def test_a_token_that_ended_is_not_found(cloud: Cloud, tokens: dict[str, str], kind: str) -> None:
    assert cloud.verdict(tokens[kind]).status_code == 404


def test_the_role_service_is_enough_to_ask_about_others(cloud: Cloud, tokens: dict[str, str]) -> None:
    asked = {person: cloud.verdict(tokens["a member's"], by=cloud.token(person)) for person in (SERVICE, STRANGER)}
    assert {person: answer.status_code for person, answer in asked.items()} == {SERVICE: 200, STRANGER: 403}


def test_all_that_somebody_has_is_revoked(cloud: Cloud) -> None:
    before = cloud.token(SERVICE)
    cloud.revoke_all(SERVICE)
    assert [cloud.verdict(token).status_code for token in (before, cloud.token(SERVICE))] == [404, 200]


def test_tokens_hold_when_keystone_has_been_stopped(keystone: Keystone, cloud: Cloud) -> None:
    token = cloud.token(MEMBER)
    with keystone.stopped():
        pass
    assert cloud.verdict(token).status_code == 200
