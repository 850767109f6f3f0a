"""Tempest: the images client, which validates responses with its own schemas."""

from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tempest.lib.exceptions import ClientRestClientException
from tempest.lib.services.compute.images_client import ImagesClient

from tests.integration.clients.scripts.protocol import Operations, serve


class Endpoint:
    """An authentication provider that only adds the URL of the service."""

    def __init__(self, url: str) -> None:
        self._url = url

    def auth_request(self, _method: str, path: str, headers: Any, body: Any, _filters: Any) -> tuple[str, Any, Any]:
        """Return URL, headers and body of a request."""
        return f"{self._url}/{path}", headers, body

    def get_token(self) -> str:
        """Return any token."""
        return "any"


def connect(url: str) -> Operations:
    images = ImagesClient(Endpoint(url), "compute", "region")

    def pages(*, detail: bool = True, **query: str) -> list[Any]:
        page = images.list_images(detail, **query)
        following = [urlsplit(link["href"]) for link in page.get("images_links", [])]
        rest = [pages(detail=link.path.endswith("/detail"), **dict(parse_qsl(link.query))) for link in following]
        return [*page["images"], *chain(*rest)]

    return {
        "list": lambda **query: images.list_images(**query)["images"],
        "details": lambda **query: images.list_images(detail=True, **query)["images"],
        "pages": pages,
        "show": lambda image: images.show_image(image)["image"],
        "delete": images.delete_image,
        "metadata": lambda image: images.list_image_metadata(image)["metadata"],
        "update": lambda image, items: images.update_image_metadata(image, items)["metadata"],
        "replace": lambda image, items: images.set_image_metadata(image, items)["metadata"],
        "item": lambda image, key: images.show_image_metadata_item(image, key)["meta"],
        "set_item": lambda image, key, value: images.set_image_metadata_item(image, key, {key: value})["meta"],
        "delete_item": images.delete_image_metadata_item,
    }


serve(connect, ClientRestClientException, lambda error: (error.status_code, error.resp_body["message"]))
