"""Fixtures: a Keystone with projects, users and all kinds of tokens, a Glance, and services that use them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.openstack.cloud import (
    ADMIN,
    GLANCE,
    OF_THE_DOMAIN,
    OF_THE_FIRST_PROJECT,
    OF_THE_SYSTEM,
    OTHER_MEMBER,
    READER,
    UNSCOPED,
    Cloud,
    as_variables,
)
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.openstack.keystone import Keystone
from tests.integration.openstack.replica import Replica
from tests.integration.server.service import Service, serving, until
from tests.support.images import catalog_of, image, image_id
from tests.support.packages import Missing

IMAGES = {"main": image_id(1), "other": image_id(2), "foreign": image_id(3)}  # private images of the projects
UNOWNED, PUBLIC = image_id(4), image_id(5)  # both are public; the second one belongs to the other project

PUBLIC_URL = "https://keystone.example.com/v3"


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    try:
        keystone = Keystone(tmp_path_factory.mktemp("keystone"))
    except Missing as missing:
        pytest.skip(str(missing))
    with keystone.running():
        yield keystone


@pytest.fixture(scope="session")
def cloud(keystone: Keystone) -> Cloud:
    return Cloud(keystone)


@pytest.fixture(scope="session")
def glance(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    glance = Glance(tmp_path_factory.mktemp("glance"), cloud.credentials(GLANCE))
    cloud.register_service("image", glance.origin)
    with glance.running():
        yield glance


@pytest.fixture
def admin(glance: Glance, cloud: Cloud) -> Images:
    return Images(glance, cloud.token(ADMIN, OF_THE_FIRST_PROJECT))


@pytest.fixture
def member(glance: Glance, cloud: Cloud) -> Images:
    return Images(glance, cloud.token())


@pytest.fixture
def other_member(glance: Glance, cloud: Cloud) -> Images:
    return Images(glance, cloud.token(OTHER_MEMBER))


@pytest.fixture
def replica(glance: Glance, cloud: Cloud, tmp_path: Path) -> Replica:
    """Return a replica, still empty, of what the admin sees in a Glance without images."""
    glance.empty()
    return Replica(tmp_path, as_variables(cloud.administrator()))


@pytest.fixture(scope="session")
def tokens(cloud: Cloud) -> dict[str, str]:
    expired, revoked = cloud.short_lived_token(1), cloud.token()
    cloud.revoke(revoked)
    until(lambda: not cloud.validate(expired).is_success)
    return {
        "a member's": cloud.token(),
        "a reader's": cloud.token(READER),
        "another member's": cloud.token(OTHER_MEMBER),
        "of another domain": cloud.token(cloud.foreign_member),
        "an admin's": cloud.token(ADMIN, OF_THE_FIRST_PROJECT),
        "an admin's, for the domain": cloud.token(ADMIN, OF_THE_DOMAIN),
        "an admin's, for the system": cloud.token(ADMIN, OF_THE_SYSTEM),
        "unscoped": cloud.token(scope=UNSCOPED),
        "expired": expired,
        "revoked": revoked,
    }


@pytest.fixture(scope="session")
def catalog(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return catalog_of(
        tmp_path_factory.mktemp("catalog"),
        *(
            image(id=IMAGES[name], owner=owner, visibility="private", metadata={"key": "value"})
            for name, owner in cloud.projects.items()
        ),
        image(id=UNOWNED),
        image(id=PUBLIC, owner=cloud.projects["other"]),
    )


@pytest.fixture(scope="session")
def settings(catalog: Path) -> dict[str, Any]:
    return {"IMAGES_AUTH": "keystone", "IMAGES_CATALOG": str(catalog)}


@pytest.fixture(scope="session")
def variables(cloud: Cloud, settings: dict[str, Any]) -> dict[str, Any]:
    return settings | as_variables(cloud.credentials())


@pytest.fixture(scope="session")
def service_with_variables(variables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("variables"), **variables) as service:
        yield service


@pytest.fixture(scope="session")
def service_with_file(
    cloud: Cloud, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Run a service with its credentials in clouds.yaml, a URL without a version there, and another one for callers."""
    folder = tmp_path_factory.mktemp("file")
    credentials = cloud.credentials()
    unversioned = {"auth_url": credentials["auth_url"].removesuffix("/v3")}
    (folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"test": {"auth": credentials | unversioned}}}))
    with serving(folder, OS_CLOUD="test", IMAGES_WWW_AUTHENTICATE_URI=PUBLIC_URL, **settings) as service:
        yield service


@pytest.fixture(params=["service_with_variables", "service_with_file"])
def service(request: pytest.FixtureRequest) -> Service:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def service_with_short_cache(variables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("short-cache"), **{"IMAGES_TOKEN_CACHE_TIME": "1"} | variables) as service:
        yield service
