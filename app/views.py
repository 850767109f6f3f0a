"""What is answered: rows of the catalog become documents of the API. Pure functions; nothing is read or looked up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import orjson

from app.catalog import Image, Metadata, Page, Record
from app.freshness import Passes

Document = dict[str, Any]


@dataclass(frozen=True)
class Links:
    """What every link of an answer begins with, and the tenant that it names, as the request has it."""

    compute: str
    glance: str
    tenant: str

    def image(self, image_id: str) -> list[Document]:
        """Link to an image in the Compute API, and in the image service."""
        path = f"{self.tenant}/images/{image_id}"  # nothing in it needs to be escaped: the contract says so
        alternate = {
            "rel": "alternate",
            "href": f"{self.glance}/{path}",
            "type": "application/vnd.openstack.image",
        }
        return [*self._own(path), alternate]

    def server(self, server_id: str) -> list[Document]:
        """Link to a server in the Compute API."""
        return self._own(f"{self.tenant}/servers/{quote(server_id, safe='')}")

    def next_page(self, path: str, query_string: bytes, marker: str) -> list[Document]:
        """Link to the page after the marker: the same request but for its marker."""
        query = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="surrogateescape")
        kept = [(name, value) for name, value in query if name != "marker"]
        changed = urlencode([*kept, ("marker", marker)], errors="surrogateescape")
        return [{"rel": "next", "href": f"{self.compute}{path}?{changed}"}]

    def _own(self, path: str) -> list[Document]:
        return [
            {"rel": "self", "href": f"{self.compute}/v2/{path}"},
            {"rel": "bookmark", "href": f"{self.compute}/{path}"},
        ]


ImageView = Callable[[Image, Links], Document]

_SINCE = "2011-01-21T11:33:21Z"  # when version 2 of the API became what it is, as Nova says it


def version(compute: str) -> Document:
    """Give what is said of the one version of the API, which has no microversions."""
    return {
        "id": "v2.0",
        "status": "CURRENT",
        "version": "",
        "min_version": "",
        "updated": _SINCE,
        "links": [{"rel": "self", "href": f"{compute}/v2/"}],
    }


def mirror_health(passes: Passes, now: float) -> Document:
    """Give what is said of the passes of a mirror, at a time in seconds since 1970."""
    return {"age": None if passes.good is None else max(0, int(now - passes.good)), "error": passes.error}


def image_fields(image: Image | Record) -> Document:
    """Give what the API says of an image by itself; a size that is not known is left out."""
    fields = {
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "progress": image.progress,
        "created": image.created,
        "updated": image.updated,
        "minDisk": image.min_disk,
        "minRam": image.min_ram,
        "metadata": image_metadata(image),
    }
    if image.size is not None:
        fields["OS-EXT-IMG-SIZE:size"] = image.size
    return fields


def image_metadata(image: Image | Record) -> Metadata:
    """Give the items of an image."""
    return orjson.loads(image.metadata)  # type: ignore[no-any-return]


def image_summary(image: Image, links: Links) -> Document:
    """Give what the short list has of an image."""
    return {"id": image.id, "name": image.name, "links": links.image(image.id)}


def image_details(image: Image, links: Links) -> Document:
    """Give all details of an image."""
    details = image_fields(image)
    details["links"] = links.image(image.id)
    if image.server is not None:
        details["server"] = {"id": image.server, "links": links.server(image.server)}
    return details


def image_list(page: Page, view: ImageView, links: Links, path: str, query_string: bytes) -> Document:
    """Give a page of images, with the link to the next one where there is one."""
    document: Document = {"images": [view(image, links) for image in page.images]}
    if page.more:
        document["images_links"] = links.next_page(path, query_string, page.images[-1].id)
    return document
