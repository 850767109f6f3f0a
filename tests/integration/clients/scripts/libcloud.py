"""Apache Libcloud: the driver for OpenStack 1.1, with all that it tells of an image in the API's words."""

from typing import Any

from libcloud.common.exceptions import BaseHTTPError
from libcloud.compute.base import NodeImage
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from tests.integration.clients.scripts.asking import Operations, answer

EXTRA = ("status", "progress", "created", "updated", "minDisk", "minRam", "metadata", "serverId")


def connect(url: str) -> Operations:
    """Give what it does with the images of an endpoint."""
    driver = get_driver(Provider.OPENSTACK)(
        "user",
        "password",
        api_version="1.1",
        secure=False,
        ex_force_auth_url="http://127.0.0.1:9",  # nobody is asked there: the token is given
        ex_force_auth_version="2.0_password",
        ex_force_auth_token="any",  # noqa: S106 nobody looks at it
        ex_force_base_url=url,
    )
    return {
        "details": lambda: [told(image) for image in driver.list_images(ex_only_active=False)],
        "active": lambda: [told(image) for image in driver.list_images()],
        "show": lambda image: told(driver.get_image(image)),
        "delete": lambda image: driver.delete_image(NodeImage(image, name=None, driver=driver)),
    }


def told(image: Any) -> dict[str, Any]:
    return {"id": image.id, "name": image.name} | {name: image.extra[name] for name in EXTRA}


answer(connect, BaseHTTPError, lambda error: (error.code, error.message))
