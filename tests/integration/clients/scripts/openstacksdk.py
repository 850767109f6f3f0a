"""openstacksdk: the Compute proxy and the methods of its images."""

from typing import Any

import openstack
from keystoneauth1.discover import Discover
from openstack.exceptions import HttpException

from tests.integration.clients.scripts.protocol import Operations, serve


def connect(url: str) -> Operations:
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
        compute.set_image_metadata(image, **items)  # returns what it sent, not the response
        return compute.fetch_image_metadata(image).metadata

    return {
        "versions": lambda path: [
            {"version": each["version"], "url": each["url"], "status": each["raw_status"]}
            for each in Discover(connection.session, path).version_data()
        ],
        "list": lambda **query: [fields_of(image) for image in compute.images(details=False, **query)],
        "details": lambda **query: [fields_of(image) for image in compute.images(**query)],
        "ids": lambda **query: [image.id for image in compute.images(**query)],
        "find": lambda name: [fields_of(image) for image in [compute.find_image(name)] if image],
        "show": lambda image: fields_of(compute.get_image(image)),
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


def fields_of(image: Any) -> Any:
    return {"name": image.name} | image.to_dict(computed=False, ignore_none=True, original_names=True)


serve(connect, HttpException, lambda error: (error.status_code, error.details))
