"""A model of the API in plain Python: what the service should return for the images of a catalog file."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

from tests.support.generator import Document
from tests.support.projects import SAMPLE_PROJECT

Filters = Mapping[str, str]


def newest_first(images: Iterable[Document]) -> list[Document]:
    """Sort images in the order of the list: the newest first, and otherwise in the order of the file."""
    return sorted(images, key=lambda image: str(image["created"]), reverse=True)


def is_listed(image: Document, project_id: str) -> bool:
    """Return whether a project's list can have an image: a public one, its own, or one that is shared with it."""
    visibility = image.get("visibility", "public")
    owned = "owner" in image and _normalize(image["owner"]) == _normalize(project_id)
    return visibility == "public" or owned or (visibility == "shared" and is_member(image, project_id))


def is_member(image: Document, project_id: str) -> bool:
    """Return whether a project is a member of an image, whatever the visibility."""
    return any(_normalize(each) == _normalize(project_id) for each in image.get("members", []))


def is_marker(image: Document, project_id: str) -> bool:
    """Return whether a project can see an image by its id, and so use it as a marker: community images, too."""
    return is_listed(image, project_id) or image.get("visibility") == "community"


def matching(images: Iterable[Document], filters: Filters) -> list[Document]:
    """Return the images that match all filters, by the names of the query parameters."""
    tombstones = "changes-since" in filters or filters.get("status") == "DELETED"
    found = [image for image in images if tombstones or image["status"] != "DELETED"]
    for name, value in filters.items():
        found = [image for image in found if _MATCHES[name](image, value)]
    return found


def made_from(image: Document) -> str | None:
    return metadata(image).get("instance_uuid") or None


def is_of_type(image: Document, wanted: str) -> bool:
    image_type = image["metadata"].get("image_type")
    from_server = made_from(image) is not None or image_type in {"snapshot", "backup"}
    return {"ALL": True, "SERVER": from_server, "BASE": not from_server}.get(wanted, bool(image_type == wanted))


def metadata(image: Document) -> Document:
    """Return the metadata of an image, with the server that a file can also name outside of them."""
    server = {"instance_uuid": image["server"]["id"]} if "server" in image else {}
    return {**server, **image["metadata"]}


def document(image: Document, project_id: str, base: str) -> Document:
    shown = {key: image[key] for key in _SHOWN if key in image}
    shown["metadata"] = metadata(image)
    shown["links"] = [
        {"rel": "self", "href": f"{base}/v2/{project_id}/images/{image['id']}"},
        {"rel": "bookmark", "href": f"{base}/{project_id}/images/{image['id']}"},
        {
            "rel": "alternate",
            "href": f"{base}/{project_id}/images/{image['id']}",
            "type": "application/vnd.openstack.image",
        },
    ]
    server = made_from(image)
    if server is not None:
        path = f"{project_id}/servers/{quote(server, safe='')}"
        links = [{"rel": "self", "href": f"{base}/v2/{path}"}, {"rel": "bookmark", "href": f"{base}/{path}"}]
        shown["server"] = {"id": server, "links": links}
    return shown


_SHOWN = ("id", "name", "status", "progress", "created", "updated", "minDisk", "minRam", "OS-EXT-IMG-SIZE:size")


def _changed_since(image: Document, time: str) -> bool:
    return datetime.fromisoformat(image["updated"]) >= datetime.fromisoformat(time.upper()).replace(microsecond=0)


def _is_from(image: Document, uri: str) -> bool:
    return made_from(image) in {uri, unquote(urlsplit(uri).path.split("/")[-1])}


_MATCHES: Mapping[str, Callable[[Document, str], bool]] = {
    "changes-since": _changed_since,
    "server": _is_from,
    "name": lambda image, name: bool(image["name"] == name),
    "status": lambda image, status: bool(image["status"] == status),
    "type": is_of_type,
    "minRam": lambda image, value: bool(image["minRam"] == int(value)),
    "minDisk": lambda image, value: bool(image["minDisk"] == int(value)),
}


def _normalize(project_id: str) -> UUID | str:
    return project_id if project_id == SAMPLE_PROJECT else UUID(project_id)
