"""Tempest's tests of Compute's images: with the service in the place of Compute, in front of a cloud."""

from collections.abc import Iterator

import pytest

from tests.integration.openstack.cloud import ADMIN, OF_THE_FIRST_PROJECT, Cloud, as_variables
from tests.integration.openstack.copies import Copy
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.openstack.tempest import Met, Tempest
from tests.integration.server.service import serving
from tests.support.packages import Missing

# The tests that are met. Those are left out which make images from servers, for there are no servers.
TESTS = {
    "test_list_images": Met(3),
    "test_list_image_filters": Met(13, left_out=5),
    "test_list_image_filters_negative": Met(1),
    "test_image_metadata": Met(6),
    "test_image_metadata_negative": Met(6),
    "test_images_negative.ImagesDeleteNegativeTestJSON": Met(6),
}
# These are for clouds that have snapshots alone, and make none.
FOR_SNAPSHOTS = {"test_images_negative.ImagesDeleteNegativeTestJSON"}

PUBLIC = {"one", "another"}


@pytest.fixture(scope="module")
def tempest(cloud: Cloud, glance: Glance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tempest]:
    """Have a mirror come by every second, and Compute be what serves the copy; and give a Tempest to try it."""
    glance.empty()
    administrator = Images(glance, cloud.token(ADMIN, OF_THE_FIRST_PROJECT))
    public = [administrator.create(name=name, visibility="public") for name in PUBLIC]
    for image in public:
        administrator.upload(image)
    try:
        tempest = Tempest(tmp_path_factory.mktemp("tempest"), cloud.administrator(), *public)
    except Missing as missing:
        pytest.skip(str(missing))
    copy = Copy(tmp_path_factory.mktemp("copy"), as_variables(cloud.administrator()))
    copy.fill()
    served = {"IMAGES_AUTH": "keystone", "IMAGES_CATALOG": str(copy.catalog)} | as_variables(cloud.credentials())
    with (
        copy.mirrored("--every", "1"),
        serving(tmp_path_factory.mktemp("compute"), workers=2, **served) as service,
    ):
        cloud.offer("compute", f"http://127.0.0.1:{service.port}/v2/%(project_id)s")
        yield tempest


@pytest.mark.parametrize("tests", TESTS)
def test_tempest_is_content(tempest: Tempest, administrator: Images, tests: str) -> None:
    assert tempest.run(tests, snapshots=tests in FOR_SNAPSHOTS) == TESTS[tests]
    assert {image["name"] for image in administrator.everything()} == PUBLIC  # what it deleted is gone
