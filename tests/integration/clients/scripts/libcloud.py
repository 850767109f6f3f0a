"""Apache Libcloud: the driver for OpenStack 1.1. Its results use the API's field names."""

from typing import Any

from libcloud.common.exceptions import BaseHTTPError
from libcloud.compute.base import NodeImage
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from tests.integration.clients.scripts.protocol import Operations, serve

EXTRA = ("status", "progress", "created", "updated", "minDisk", "minRam", "metadata", "serverId")


def connect(url: str) -> Operations:
    driver = get_driver(Provider.OPENSTACK)(
        "user",
        "password",
        api_version="1.1",
        secure=False,
        ex_force_auth_url="http://127.0.0.1:9",  # unused, because the token is given
        ex_force_auth_version="2.0_password",
        ex_force_auth_token="any",  # noqa: S106 the service ignores it
        ex_force_base_url=url,
    )
    return {
        "details": lambda: [fields_of(image) for image in driver.list_images(ex_only_active=False)],
        "active": lambda: [fields_of(image) for image in driver.list_images()],
        "show": lambda image: fields_of(driver.get_image(image)),
        "delete": lambda image: driver.delete_image(NodeImage(image, name=None, driver=driver)),
    }


def fields_of(image: Any) -> dict[str, Any]:
    return {"id": image.id, "name": image.name} | {name: image.extra[name] for name in EXTRA}


serve(connect, BaseHTTPError, lambda error: (error.code, error.message))
