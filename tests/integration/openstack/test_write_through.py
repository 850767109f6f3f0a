"""Changes of images through the service, which a real Glance makes or rejects."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.openstack.calls import call
from tests.integration.openstack.cloud import Cloud, as_variables
from tests.integration.openstack.images import Images
from tests.integration.openstack.replica import Replica
from tests.integration.server.service import Service, serving
from tests.support.fake_glance import UPPER_CASE_IDS

# Attributes of Glance's own classes, base properties, reserved names, and names that it would change.
IMPOSSIBLE_KEYS = (
    *("image_id", "base", "extra_properties", "__class__", "__dict__", "member", "delete", "context", "helper"),
    *("size", "id", "owner", "os_hidden", "location", "deleted", "deleted_at", "os_glance_x", " a", "a "),
)


@pytest.fixture
def service(replica: Replica, cloud: Cloud, tmp_path: Path) -> Iterator[Service]:
    settings = {"IMAGES_AUTH": "keystone", "IMAGES_CATALOG": str(replica.catalog)} | as_variables(cloud.credentials())
    replica.sync()
    with serving(tmp_path, **settings) as service:
        yield service


def test_glance_takes_metadata_items_and_rejects_impossible_ones(
    service: Service, replica: Replica, cloud: Cloud, member: Images
) -> None:
    image, other = member.create(a="1"), member.create(name="other")
    replica.sync()
    token, target = cloud.token(), f"/v2/{cloud.projects['main']}/images/{image}"
    before = member.list_all()
    for key in IMPOSSIBLE_KEYS:
        url = f"{target}/metadata/{key.replace(' ', '%20')}"
        response = call(service, token, url, method="PUT", document={"meta": {key: other}})
        assert response.fault == (400, "badRequest"), key
    assert (member.list_all(), replica.tombstones()) == (before, {})
    for method, metadata in (("POST", {"a": "2", "b.c:d e-f_": "3"}), ("PUT", {"b": ""}), ("PUT", {})):
        document = {"metadata": metadata}
        response = call(service, token, f"{target}/metadata", method=method, document=document)
        assert (response.status, response.document) == (200, document)
        assert replica.images()[image]["metadata"] == metadata
    assert call(service, token, target, method="DELETE").status == 204
    assert ([each["id"] for each in member.list_all()], list(replica.tombstones())) == ([other], [image])


@pytest.mark.parametrize("image", UPPER_CASE_IDS)
def test_image_whose_id_has_upper_case_in_glance_is_changed_and_deleted(
    service: Service, replica: Replica, cloud: Cloud, member: Images, image: str
) -> None:
    member.create(id=image, a="1")
    replica.sync()
    token, target = cloud.token(), f"/v2/{cloud.projects['main']}/images/{image.lower()}"
    document = {"metadata": {"a": "2"}}
    assert call(service, token, f"{target}/metadata", method="PUT", document=document).document == document
    assert member.show(image)["a"] == "2"
    assert call(service, token, target, method="DELETE").status == 204
    assert (member.list_all(), list(replica.tombstones())) == ([], [image.lower()])
