"""What these tests share: a Keystone, in it a cloud whose people have tokens of all kinds, and services that ask it."""

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
    READER,
    STRANGER,
    UNSCOPED,
    Cloud,
    as_variables,
)
from tests.integration.openstack.copies import Copy
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.openstack.keystone import Keystone
from tests.integration.server.service import Service, serving, until
from tests.support.images import catalog_of, image, image_id
from tests.support.packages import Missing

IMAGES = {"ours": image_id(1), "theirs": image_id(2), "elsewhere": image_id(3)}  # private ones of the projects
UNOWNED, PUBLIC = image_id(4), image_id(5)  # both are public; the second one is theirs

PUBLIC_URL = "https://keystone.example.com/v3"


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
def glance(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    """Run a Glance, which the cloud offers."""
    glance = Glance(tmp_path_factory.mktemp("glance"), cloud.credentials(GLANCE))
    cloud.offer("image", glance.origin)
    with glance.running():
        yield glance


@pytest.fixture
def administrator(glance: Glance, cloud: Cloud) -> Images:
    """Give the image service as the administrator sees it."""
    return Images(glance, cloud.token(ADMIN, OF_THE_FIRST_PROJECT))


@pytest.fixture
def member(glance: Glance, cloud: Cloud) -> Images:
    """Give the image service as it is seen in our project."""
    return Images(glance, cloud.token())


@pytest.fixture
def stranger(glance: Glance, cloud: Cloud) -> Images:
    """Give the image service as it is seen in their project."""
    return Images(glance, cloud.token(STRANGER))


@pytest.fixture
def copy(glance: Glance, cloud: Cloud, tmp_path: Path) -> Copy:
    """Give a catalog that is to be a copy of what the administrator sees in Glance, which has no images yet."""
    glance.empty()
    return Copy(tmp_path, as_variables(cloud.administrator()))


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


@pytest.fixture(scope="session")
def catalog(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a catalog with images of the projects, and one that nobody owns."""
    return catalog_of(
        tmp_path_factory.mktemp("catalog"),
        *(
            image(id=IMAGES[name], owner=owner, visibility="private", metadata={"key": "value"})
            for name, owner in cloud.projects.items()
        ),
        image(id=UNOWNED),
        image(id=PUBLIC, owner=cloud.projects["theirs"]),
    )


@pytest.fixture(scope="session")
def asking(catalog: Path) -> dict[str, Any]:
    """Give the settings of a service that asks Keystone; its credentials are yet to come."""
    return {"IMAGES_AUTH": "keystone", "IMAGES_CATALOG": str(catalog)}


@pytest.fixture(scope="session")
def variables(cloud: Cloud, asking: dict[str, Any]) -> dict[str, Any]:
    """Give the settings of a service that asks Keystone, credentials included."""
    return asking | as_variables(cloud.credentials())


@pytest.fixture(scope="session")
def told_by_variables(variables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that has its credentials from the environment."""
    with serving(tmp_path_factory.mktemp("variables"), **variables) as service:
        yield service


@pytest.fixture(scope="session")
def told_by_a_file(cloud: Cloud, asking: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that has its credentials from clouds.yaml, with a URL of no version, and tells callers another."""
    folder = tmp_path_factory.mktemp("file")
    credentials = cloud.credentials()
    unversioned = {"auth_url": credentials["auth_url"].removesuffix("/v3")}
    (folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"tried": {"auth": credentials | unversioned}}}))
    with serving(folder, OS_CLOUD="tried", IMAGES_KEYSTONE_URL=PUBLIC_URL, **asking) as service:
        yield service


@pytest.fixture(params=["told_by_variables", "told_by_a_file"])
def service(request: pytest.FixtureRequest) -> Service:
    """Give the one service, and then the other."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def forgetful(variables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that believes in a verdict for a second."""
    with serving(tmp_path_factory.mktemp("forgetful"), IMAGES_VERDICT_SECONDS="1", **variables) as service:
        yield service
