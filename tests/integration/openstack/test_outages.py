"""Responses while Keystone is unreachable, slow or rejects the service's own credentials, and afterwards."""

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.openstack.calls import build_request, call
from tests.integration.openstack.cloud import MEMBER, READER, SERVICE, Cloud, as_variables
from tests.integration.openstack.component import installed
from tests.integration.openstack.keystone import Keystone
from tests.integration.server.service import SERVE, Service, run, serving, until
from tests.integration.server.wire import Connection, fetch, request

pytestmark = pytest.mark.external(install=[installed])

UNAVAILABLE = (503, "serviceUnavailable")


@pytest.fixture(scope="module")
def service(service_with_variables: Service) -> Service:
    return service_with_variables


@pytest.fixture(scope="module")
def target(cloud: Cloud) -> str:
    return f"/v2/{cloud.projects['main']}/images"


def keystone_errors(service: Service) -> list[str]:
    return re.findall(r"Keystone (?:is unavailable|did not validate).*", service.log)


def readiness(service: Service) -> tuple[int, str]:
    """Return the status of the readiness check, and what it shows of Keystone."""
    response = fetch(service.port, request("/healthcheck/ready"))
    return response.status, response.document["checks"]["keystone"]["status"]


def responds_at_once(service: Service) -> bool:
    """Return whether the service responds, and so has read all that was sent to it before."""
    return fetch(service.port, request("/healthcheck")).status == 200


def test_cached_tokens_are_valid_and_new_ones_rejected_during_an_outage(
    service: Service, keystone: Keystone, cloud: Cloud, target: str
) -> None:
    cached, new = cloud.token(), cloud.token()
    assert call(service, cached, target).status == 200
    before = len(keystone_errors(service))
    with keystone.stopped():
        assert [call(service, cached, f"{target}{path}").status for path in ("", "/detail")] == [200, 200]
        assert call(service, new, target).fault == UNAVAILABLE
    assert call(service, new, target).status == 200
    until(lambda: len(keystone_errors(service)) == before + 1)
    assert new not in service.log


def test_cached_token_expires_during_an_outage(
    service_with_short_cache: Service, keystone: Keystone, cloud: Cloud, target: str
) -> None:
    token = cloud.token()
    assert call(service_with_short_cache, token, target).status == 200
    with keystone.stopped():
        until(lambda: call(service_with_short_cache, token, target).status != 200)
        assert call(service_with_short_cache, token, target).fault == UNAVAILABLE
    assert call(service_with_short_cache, token, target).status == 200


def test_service_starts_during_an_outage(
    keystone: Keystone, cloud: Cloud, variables: dict[str, Any], target: str, tmp_path: Path
) -> None:
    token = cloud.token()
    with ExitStack() as stack:
        with keystone.stopped():
            service = stack.enter_context(serving(tmp_path, **variables))
            assert call(service, token, target).fault == UNAVAILABLE
            assert readiness(service) == (503, "failed")
        assert call(service, token, target).status == 200
        until(lambda: readiness(service) == (200, "ok"))
        until(lambda: len(keystone_errors(service)) == 3)  # at its start, for the request, and for the readiness


def test_only_new_tokens_wait_for_keystone(service: Service, keystone: Keystone, cloud: Cloud, target: str) -> None:
    cached, new = cloud.token(), cloud.token()
    assert call(service, cached, target).status == 200
    with Connection(service.port) as connection:
        with keystone.suspended():
            connection.send(build_request(new, target))
            assert responds_at_once(service)
            assert [call(service, cached, f"{target}?limit={limit}").status for limit in (1, 2)] == [200, 200]
        assert connection.receive().status == 200  # so its validation was not cancelled


def test_validation_times_out(service: Service, keystone: Keystone, cloud: Cloud, target: str) -> None:
    token = cloud.token()
    with keystone.suspended():
        assert call(service, token, target).fault == UNAVAILABLE


def test_concurrent_requests_with_a_new_token_share_its_validation(
    service: Service, keystone: Keystone, cloud: Cloud, target: str
) -> None:
    token = cloud.token()
    before = keystone.requests.count("GET /v3/auth/tokens")
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(service.port)) for _ in range(30)]
        with keystone.suspended():
            for connection in connections:
                connection.send(build_request(token, target))
            assert responds_at_once(service)
        assert [connection.receive().status for connection in connections] == [200] * 30
    assert keystone.requests.count("GET /v3/auth/tokens") == before + 1


def test_service_replaces_its_own_revoked_token(service: Service, cloud: Cloud, target: str) -> None:
    assert call(service, cloud.token(), target).status == 200
    cloud.revoke_all(SERVICE)
    assert call(service, cloud.token(), target).status == 200


def test_service_replaces_its_own_expired_token(
    keystone: Keystone, cloud: Cloud, variables: dict[str, Any], target: str, tmp_path: Path
) -> None:
    first, second = cloud.token(), cloud.token()
    with keystone.restarted(token_seconds=2), serving(tmp_path, **variables) as service:
        assert call(service, first, target).status == 200
        time.sleep(2)
        assert call(service, second, target).status == 200


def test_new_tokens_are_rejected_when_the_services_credentials_become_invalid(
    service: Service, cloud: Cloud, target: str
) -> None:
    cached, new = cloud.token(), cloud.token()
    assert call(service, cached, target).status == 200
    before = len(keystone_errors(service))
    with cloud.with_wrong_password(SERVICE):
        assert call(service, cached, target).status == 200
        assert call(service, new, target).fault == UNAVAILABLE
    assert call(service, new, target).status == 200
    until(lambda: len(keystone_errors(service)) == before + 1)


def test_service_that_may_not_validate_tokens_rejects_all(
    cloud: Cloud, settings: dict[str, Any], target: str, tmp_path: Path
) -> None:
    credentials = as_variables(cloud.credentials(MEMBER, "main"))
    with serving(tmp_path, **settings, **credentials) as service:
        assert call(service, cloud.token(READER), target).fault == UNAVAILABLE
        until(lambda: any(each.startswith("Keystone is unavailable: status 403 ") for each in keystone_errors(service)))


def test_service_with_invalid_credentials_does_not_start(variables: dict[str, Any], tmp_path: Path) -> None:
    result = run(*SERVE, folder=tmp_path, **variables | {"OS_PASSWORD": "wrong"}, HOME=str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: The credentials for Keystone cannot be used: .* \(HTTP 401\).*\n", result.stderr)
