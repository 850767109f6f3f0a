"""What the service is to answer, in plain Python over the images of a catalog file, and with no code of the service."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

from tests.support.generator import GUEST, Document

Filters = Mapping[str, str]


def newest_first(images: Iterable[Document]) -> list[Document]:
    """Put images in the order of the answer: what is as new as another keeps the order of the file."""
    return sorted(images, key=lambda image: str(image["created"]), reverse=True)


def is_listed(image: Document, tenant: str) -> bool:
    """Tell whether a tenant's list can show an image: a public one, its own, or one shared with it."""
    visibility = image.get("visibility", "public")
    owned = "owner" in image and _project(image["owner"]) == _project(tenant)
    return visibility == "public" or owned or (visibility == "shared" and is_member(image, tenant))


def is_member(image: Document, tenant: str) -> bool:
    """Tell whether an image names a tenant among its members, whatever that means for its visibility."""
    return any(_project(each) == _project(tenant) for each in image.get("members", []))


def is_marker(image: Document, tenant: str) -> bool:
    """Tell whether a tenant's page may start after an image: community images are there for who knows their id."""
    return is_listed(image, tenant) or image.get("visibility") == "community"


def matching(images: Iterable[Document], filters: Filters) -> list[Document]:
    """Give the images that meet all filters, under the names that these have in a query."""
    tombstones = "changes-since" in filters or filters.get("status") == "DELETED"
    found = [image for image in images if tombstones or image["status"] != "DELETED"]
    for name, value in filters.items():
        found = [image for image in found if _MEETS[name](image, value)]
    return found


def made_from(image: Document) -> str | None:
    """Give the id of the server that an image was made from."""
    return metadata(image).get("instance_uuid") or None


def is_of_type(image: Document, wanted: str) -> bool:
    """Tell whether an image is of a type that the parameter `type` can name."""
    image_type = image["metadata"].get("image_type")
    from_server = made_from(image) is not None or image_type in {"snapshot", "backup"}
    return {"ALL": True, "SERVER": from_server, "BASE": not from_server}.get(wanted, bool(image_type == wanted))


def metadata(image: Document) -> Document:
    """Give the metadata of an image: a server that the file names beside them is one of them."""
    server = {"instance_uuid": image["server"]["id"]} if "server" in image else {}
    return {**server, **image["metadata"]}


def document(image: Document, tenant: str, base: str) -> Document:
    """Give an image as the API shows it to a tenant."""
    shown = {key: image[key] for key in _SHOWN if key in image}
    shown["metadata"] = metadata(image)
    shown["links"] = [
        {"rel": "self", "href": f"{base}/v2/{tenant}/images/{image['id']}"},
        {"rel": "bookmark", "href": f"{base}/{tenant}/images/{image['id']}"},
        {
            "rel": "alternate",
            "href": f"{base}/{tenant}/images/{image['id']}",
            "type": "application/vnd.openstack.image",
        },
    ]
    server = made_from(image)
    if server is not None:
        path = f"{tenant}/servers/{quote(server, safe='')}"
        links = [{"rel": "self", "href": f"{base}/v2/{path}"}, {"rel": "bookmark", "href": f"{base}/{path}"}]
        shown["server"] = {"id": server, "links": links}
    return shown


_SHOWN = ("id", "name", "status", "progress", "created", "updated", "minDisk", "minRam", "OS-EXT-IMG-SIZE:size")


def _changed_since(image: Document, time: str) -> bool:
    return datetime.fromisoformat(image["updated"]) >= datetime.fromisoformat(time.upper()).replace(microsecond=0)


def _is_from(image: Document, uri: str) -> bool:
    return made_from(image) == unquote(urlsplit(uri).path.split("/")[-1])


_MEETS: Mapping[str, Callable[[Document, str], bool]] = {
    "changes-since": _changed_since,
    "server": _is_from,
    "name": lambda image, name: bool(image["name"] == name),
    "status": lambda image, status: bool(image["status"] == status),
    "type": is_of_type,
    "minRam": lambda image, least: bool(image["minRam"] == int(least)),
    "minDisk": lambda image, least: bool(image["minDisk"] == int(least)),
}


def _project(tenant: str) -> UUID | str:
    return tenant if tenant == GUEST else UUID(tenant)
