"""Tempest's tests of Compute's images, with the service in place of Nova."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.integration.clients.processes import installed as installed_client
from tests.integration.openstack.cloud import ADMIN, OF_THE_FIRST_PROJECT, Cloud, as_variables
from tests.integration.openstack.component import installed
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.openstack.replica import Replica
from tests.integration.openstack.tempest import Outcome, Tempest
from tests.integration.server.service import serving
from tests.support.packages import Missing

pytestmark = pytest.mark.external(install=[installed, partial(installed_client, "tempest")])

# Tests that create images from servers are skipped: there are no servers.
TESTS = {
    "test_list_images": Outcome(3),
    "test_list_image_filters": Outcome(13, skipped=5),
    "test_list_image_filters_negative": Outcome(1),
    "test_image_metadata": Outcome(6),
    "test_image_metadata_negative": Outcome(6),
    "test_images_negative.ImagesDeleteNegativeTestJSON": Outcome(6),
}
# These only run where snapshots are enabled, and create none.
NEED_SNAPSHOTS = {"test_images_negative.ImagesDeleteNegativeTestJSON"}

PUBLIC = {"one", "another"}


@pytest.fixture(scope="module")
def tempest(cloud: Cloud, glance: Glance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tempest]:
    """Mirror a Glance every second, serve the replica as Compute, and return a Tempest for this cloud."""
    glance.empty()
    admin = Images(glance, cloud.token(ADMIN, OF_THE_FIRST_PROJECT))
    public = [admin.create(name=name, visibility="public") for name in PUBLIC]
    for image in public:
        admin.upload(image)
    try:
        tempest = Tempest(tmp_path_factory.mktemp("tempest"), cloud.administrator(), *public)
    except Missing as missing:
        pytest.skip(str(missing))
    replica = Replica(tmp_path_factory.mktemp("replica"), as_variables(cloud.administrator()))
    replica.sync()
    settings = {"IMAGES_AUTH": "keystone", "IMAGES_CATALOG": str(replica.catalog)} | as_variables(cloud.credentials())
    with (
        replica.mirrored("--interval", "1"),
        serving(tmp_path_factory.mktemp("compute"), workers=2, **settings) as service,
    ):
        cloud.register_service("compute", f"http://127.0.0.1:{service.port}/v2/%(project_id)s")
        yield tempest


@pytest.mark.parametrize("tests", TESTS)
def test_tempest_passes(tempest: Tempest, admin: Images, tests: str) -> None:
    assert tempest.run(tests, snapshots=tests in NEED_SNAPSHOTS) == TESTS[tests]
    assert {image["name"] for image in admin.list_all()} == PUBLIC  # all others are deleted
