"""python-novaclient: its image manager."""

from typing import Any

from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token
from novaclient.client import Client
from novaclient.exceptions import ClientException

from tests.integration.clients.scripts.protocol import Operations, serve


def connect(url: str) -> Operations:
    images = Client("2", session=Session(Token(url, "any"))).images

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


serve(connect, ClientException, lambda error: (error.code, error.message))
