"""python-novaclient: its image manager."""

from importlib.util import find_spec
from typing import Any

from novaclient.client import Client
from novaclient.exceptions import ClientException

from tests.integration.clients.scripts.protocol import Operations, serve


def connect(url: str) -> Operations:
    images = _client(url).images

    def pages(limit: int, marker: str | None = None) -> list[Any]:
        page = [image.to_dict() for image in images.list(limit=limit, marker=marker)]
        return [*page, *pages(limit, page[-1]["id"])] if page else []

    return {
        "list": lambda **query: [image.to_dict() for image in images.list(detailed=False, **query)],
        "details": lambda **query: [image.to_dict() for image in images.list(**query)],
        "pages": pages,
        "find": lambda name: [image.to_dict() for image in images.findall(name=name)],
        "show": lambda image: images.get(image).to_dict(),
        "delete": images.delete,
        "update": lambda image, items: images.set_meta(image, items).to_dict(),
        "delete_item": lambda image, key: images.delete_meta(image, [key]),
    }


def _client(url: str) -> Any:
    if not find_spec("keystoneauth1"):  # an early version
        return Client("2", "user", "key", "project", "http://127.0.0.1:9", bypass_url=url, auth_token="any")  # noqa: S106
    from keystoneauth1.session import Session  # noqa: PLC0415
    from keystoneauth1.token_endpoint import Token  # noqa: PLC0415

    return Client("2", session=Session(Token(url, "any")))


serve(connect, ClientException, lambda error: (error.code, error.message))
