"""What callers see while Keystone is away, or slow, or refuses the service's own credentials; and afterwards."""

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.openstack.calls import call, calling
from tests.integration.openstack.cloud import MEMBER, READER, SERVICE, Cloud, as_variables
from tests.integration.openstack.keystone import Keystone
from tests.integration.server.service import SERVE, Service, run, serving, until
from tests.integration.server.wire import Connection, ask, request

UNAVAILABLE = (503, "serviceUnavailable")


@pytest.fixture(scope="module")
def service(told_by_variables: Service) -> Service:
    """Give a service whose own credentials are good."""
    return told_by_variables


@pytest.fixture(scope="module")
def target(cloud: Cloud) -> str:
    """Give the path of our images."""
    return f"/v2/{cloud.projects['ours']}/images"


def complaints(service: Service) -> list[str]:
    """Give what a service logged about Keystone."""
    return re.findall(r"Keystone cannot be asked.*", service.log)


def answers_at_once(service: Service) -> bool:
    """Tell that the service answers, and so has read whatever was sent to it before."""
    return ask(service.port, request("/healthcheck")).status == 200


def test_while_keystone_is_away_known_tokens_are_good_and_others_wait_for_its_return(
    service: Service, keystone: Keystone, cloud: Cloud, target: str
) -> None:
    known, new = cloud.token(), cloud.token()
    assert call(service, known, target).status == 200
    before = len(complaints(service))
    with keystone.stopped():
        assert [call(service, known, f"{target}{path}").status for path in ("", "/detail")] == [200, 200]
        assert call(service, new, target).fault == UNAVAILABLE
    assert call(service, new, target).status == 200
    assert len(complaints(service)) == before + 1
    assert new not in service.log


def test_while_keystone_is_away_known_tokens_are_good_for_some_seconds(
    forgetful: Service, keystone: Keystone, cloud: Cloud, target: str
) -> None:
    token = cloud.token()
    assert call(forgetful, token, target).status == 200
    with keystone.stopped():
        until(lambda: call(forgetful, token, target).status != 200)
        assert call(forgetful, token, target).fault == UNAVAILABLE
    assert call(forgetful, token, target).status == 200


def test_a_service_starts_while_keystone_is_away(
    keystone: Keystone, cloud: Cloud, variables: dict[str, Any], target: str, tmp_path: Path
) -> None:
    token = cloud.token()
    with ExitStack() as stack:
        with keystone.stopped():
            service = stack.enter_context(serving(tmp_path, **variables))
            assert call(service, token, target).fault == UNAVAILABLE
        assert call(service, token, target).status == 200
        assert len(complaints(service)) == 2  # at its start, and for the request


def test_nobody_waits_for_keystone_but_who_asks_it(
    service: Service, keystone: Keystone, cloud: Cloud, target: str
) -> None:
    known, new = cloud.token(), cloud.token()
    assert call(service, known, target).status == 200
    with Connection(service.port) as connection:
        with keystone.halted():
            connection.send(calling(new, target))
            assert answers_at_once(service)
            assert [call(service, known, f"{target}?limit={limit}").status for limit in (1, 2)] == [200, 200]
        assert connection.receive().status == 200  # so it has not been given up meanwhile


def test_nobody_waits_for_ever(service: Service, keystone: Keystone, cloud: Cloud, target: str) -> None:
    token = cloud.token()
    with keystone.halted():
        assert call(service, token, target).fault == UNAVAILABLE


def test_keystone_is_asked_once_for_many_requests_with_a_new_token(
    service: Service, keystone: Keystone, cloud: Cloud, target: str
) -> None:
    token = cloud.token()
    before = keystone.requests.count("GET /v3/auth/tokens")
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(service.port)) for _ in range(30)]
        with keystone.halted():
            for connection in connections:
                connection.send(calling(token, target))
            assert answers_at_once(service)
        assert [connection.receive().status for connection in connections] == [200] * 30
    assert keystone.requests.count("GET /v3/auth/tokens") == before + 1


def test_a_service_whose_own_token_is_revoked_gets_another(service: Service, cloud: Cloud, target: str) -> None:
    assert call(service, cloud.token(), target).status == 200
    cloud.revoke_all(SERVICE)
    assert call(service, cloud.token(), target).status == 200


def test_a_service_whose_own_token_runs_out_gets_another(
    keystone: Keystone, cloud: Cloud, variables: dict[str, Any], target: str, tmp_path: Path
) -> None:
    first, second = cloud.token(), cloud.token()
    with keystone.restarted(token_seconds=2), serving(tmp_path, **variables) as service:
        assert call(service, first, target).status == 200
        time.sleep(2)
        assert call(service, second, target).status == 200


def test_a_service_whose_credentials_become_wrong_believes_nobody_new(
    service: Service, cloud: Cloud, target: str
) -> None:
    known, new = cloud.token(), cloud.token()
    assert call(service, known, target).status == 200
    before = len(complaints(service))
    with cloud.locked_out(SERVICE):
        assert call(service, known, target).status == 200
        assert call(service, new, target).fault == UNAVAILABLE
    assert call(service, new, target).status == 200
    assert len(complaints(service)) == before + 1


def test_a_service_that_may_not_ask_about_others_believes_nobody(
    cloud: Cloud, asking: dict[str, Any], target: str, tmp_path: Path
) -> None:
    credentials = as_variables(cloud.credentials(MEMBER, "ours"))
    with serving(tmp_path, **asking, **credentials) as service:
        assert call(service, cloud.token(READER), target).fault == UNAVAILABLE
        (complaint,) = complaints(service)
        assert complaint.startswith("Keystone cannot be asked: 403 ")


def test_a_service_whose_credentials_are_wrong_does_not_start(variables: dict[str, Any], tmp_path: Path) -> None:
    ended = run(*SERVE, folder=tmp_path, **variables | {"OS_PASSWORD": "wrong"}, HOME=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"Error: The credentials for Keystone cannot be used: .* \(HTTP 401\).*\n", ended.stderr)
