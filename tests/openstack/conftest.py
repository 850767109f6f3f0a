"""What these tests share: a Keystone, and in it a cloud whose people have tokens of all kinds."""

from collections.abc import Iterator

import pytest

from tests.kept import Missing
from tests.openstack.cloud import (
    ADMIN,
    OF_THE_DOMAIN,
    OF_THE_FIRST_PROJECT,
    OF_THE_SYSTEM,
    READER,
    STRANGER,
    UNSCOPED,
    Cloud,
)
from tests.openstack.keystone import Keystone
from tests.server.service import until


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """Run a Keystone."""
    try:
        keystone = Keystone(tmp_path_factory.mktemp("keystone"))
    except Missing as missing:
        pytest.skip(str(missing))
    with keystone.running():
        yield keystone


@pytest.fixture(scope="session")
def cloud(keystone: Keystone) -> Cloud:
    """Have projects, and people in them."""
    return Cloud(keystone)


@pytest.fixture(scope="session")
def tokens(cloud: Cloud) -> dict[str, str]:
    """Have tokens, by what they are."""
    expired, revoked = cloud.brief_token(1), cloud.token()
    cloud.revoke(revoked)
    until(lambda: not cloud.verdict(expired).is_success)
    return {
        "a member's": cloud.token(),
        "a reader's": cloud.token(READER),
        "a stranger's": cloud.token(STRANGER),
        "of another domain": cloud.token(cloud.namesake),
        "an administrator's": cloud.token(ADMIN, OF_THE_FIRST_PROJECT),
        "an administrator's, of the domain": cloud.token(ADMIN, OF_THE_DOMAIN),
        "an administrator's, of the system": cloud.token(ADMIN, OF_THE_SYSTEM),
        "of no project": cloud.token(scope=UNSCOPED),
        "expired": expired,
        "revoked": revoked,
    }
