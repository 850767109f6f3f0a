"""Images in a real Glance, as a user works with them."""

from collections.abc import Iterator
from typing import Any

from tests.integration.openstack.glance import Glance
from tests.support.images import Fields

_PATCH = "application/openstack-images-v2.1-json-patch"
_DATA = "application/octet-stream"
_ALL_IMAGES = "/images?visibility=all&limit=1000"


class Images:
    """The image service as the owner of a token sees it."""

    def __init__(self, glance: Glance, token: str) -> None:
        self._glance = glance
        self._token = token

    def create(self, **fields: object) -> str:
        """Create an image without data, and return its id."""
        id_: str = self._document("POST", "/images", fields)["id"]
        return id_

    def upload(self, image_id: str, data: bytes = b"data") -> None:
        """Upload an image's data, which makes the image active."""
        self._document("PATCH", f"/images/{image_id}", _set(disk_format="raw", container_format="bare"), _PATCH)
        self._document("PUT", f"/images/{image_id}/file", data, _DATA)

    def set(self, image_id: str, **fields: object) -> None:
        """Change fields and properties of an image."""
        self._document("PATCH", f"/images/{image_id}", _set(**fields), _PATCH)

    def unset(self, image_id: str, *properties: str) -> None:
        """Remove properties of an image."""
        removals = [{"op": "remove", "path": f"/{name}"} for name in properties]
        self._document("PATCH", f"/images/{image_id}", removals, _PATCH)

    def act(self, image_id: str, action: str) -> None:
        """Deactivate or reactivate an image."""
        self._document("POST", f"/images/{image_id}/actions/{action}")

    def delete(self, *image_ids: str) -> None:
        """Delete images."""
        for image_id in image_ids:
            self._document("DELETE", f"/images/{image_id}")

    def share(self, image_id: str, project: str) -> None:
        """Make a project a member of an image. Its status is pending until it accepts."""
        self._document("POST", f"/images/{image_id}/members", {"member": project})

    def accept(self, image_id: str, project: str, status: str = "accepted") -> None:
        """Set the own project's status as a member of an image."""
        self._document("PUT", f"/images/{image_id}/members/{project}", {"status": status})

    def unshare(self, image_id: str, project: str) -> None:
        """Remove a project from the members of an image."""
        self._document("DELETE", f"/images/{image_id}/members/{project}")

    def members(self, image_id: str) -> dict[str, str]:
        """Return the members of a shared image, with their statuses."""
        members = self._document("GET", f"/images/{image_id}/members")["members"]
        return {member["member_id"]: member["status"] for member in members}

    def show(self, image_id: str) -> Fields:
        """Return an image."""
        return dict(self._document("GET", f"/images/{image_id}"))

    def list_all(self) -> list[Fields]:
        """Return all images, the newest first."""
        return list(self._pages())

    def _pages(self) -> Iterator[Fields]:
        path = _ALL_IMAGES
        while path:
            page = self._document("GET", path)
            yield from page["images"]
            path = page.get("next", "").removeprefix("/v2")

    def _document(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        response = self._glance.request(method, path, body, token=self._token, content_type=content_type)
        assert response.is_success, response.text
        return response.json() if response.content else None


def _set(**fields: object) -> list[Fields]:
    """Return the JSON patch that sets fields, whether or not they exist."""
    return [{"op": "add", "path": f"/{name}", "value": value} for name, value in fields.items()]
