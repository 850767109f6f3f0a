"""openstacksdk: its proxy of Compute, and what its images do by themselves."""

from typing import Any

import openstack
from keystoneauth1.discover import Discover
from openstack.exceptions import HttpException

from tests.integration.clients.scripts.asking import Operations, answer


def connect(url: str) -> Operations:
    """Give what it does with the images of an endpoint."""
    connection = openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth_type="admin_token",
        auth={"endpoint": url, "token": "any"},
        compute_endpoint_override=url,
        compute_api_version="2",
    )
    compute = connection.compute

    def update(image: str, items: dict[str, str]) -> Any:
        compute.set_image_metadata(image, **items)  # it tells what it sent, whatever the answer says
        return compute.fetch_image_metadata(image).metadata

    return {
        "versions": lambda path: [
            {"version": each["version"], "url": each["url"], "status": each["raw_status"]}
            for each in Discover(connection.session, path).version_data()
        ],
        "list": lambda **query: [told(image) for image in compute.images(details=False, **query)],
        "details": lambda **query: [told(image) for image in compute.images(**query)],
        "find": lambda name: [told(image) for image in [compute.find_image(name)] if image],
        "show": lambda image: told(compute.get_image(image)),
        "delete": lambda image: compute.delete_image(image, ignore_missing=False),
        "metadata": lambda image: compute.fetch_image_metadata(image).metadata,
        "update": update,
        "replace": lambda image, items: compute.get_image(image).replace_metadata(compute, items).metadata,
        "item": lambda image, key: {
            key: compute.fetch_image_metadata(image).get_metadata_item(compute, key).metadata[key]
        },
        "set_item": lambda image, key, value: (
            compute.get_image(image).set_metadata_item(compute, key, value) and {key: value}
        ),
        "delete_item": lambda image, key: compute.delete_image_metadata(image, [key]),
    }


def told(image: Any) -> Any:
    return {"name": image.name} | image.to_dict(computed=False, ignore_none=True, original_names=True)


answer(connect, HttpException, lambda error: (error.status_code, error.details))
