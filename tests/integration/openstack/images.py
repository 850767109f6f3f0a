"""Images in Glance, as somebody works with them."""

from collections.abc import Iterator
from typing import Any

from tests.integration.openstack.glance import Glance
from tests.support.images import Fields

_PATCH = "application/openstack-images-v2.1-json-patch"
_DATA = "application/octet-stream"
_EVERYTHING = "/images?visibility=all&limit=1000"


class Images:
    """The image service, as somebody sees it whose token it is."""

    def __init__(self, glance: Glance, token: str) -> None:
        self._glance = glance
        self._token = token

    def create(self, **fields: object) -> str:
        """Make an image, of which there is no data yet."""
        identity: str = self._document("POST", "/images", fields)["id"]
        return identity

    def upload(self, image_id: str, data: bytes = b"data") -> None:
        """Give an image its data, which makes it active."""
        self._document("PATCH", f"/images/{image_id}", _set(disk_format="raw", container_format="bare"), _PATCH)
        self._document("PUT", f"/images/{image_id}/file", data, _DATA)

    def set(self, image_id: str, **fields: object) -> None:
        """Change fields and properties of an image."""
        self._document("PATCH", f"/images/{image_id}", _set(**fields), _PATCH)

    def unset(self, image_id: str, *properties: str) -> None:
        """Remove properties of an image."""
        removals = [{"op": "remove", "path": f"/{name}"} for name in properties]
        self._document("PATCH", f"/images/{image_id}", removals, _PATCH)

    def deactivate(self, image_id: str) -> None:
        """Have nobody read the data of an image."""
        self._document("POST", f"/images/{image_id}/actions/deactivate")

    def reactivate(self, image_id: str) -> None:
        """Have its data be read again."""
        self._document("POST", f"/images/{image_id}/actions/reactivate")

    def delete(self, *image_ids: str) -> None:
        """Delete images."""
        for image_id in image_ids:
            self._document("DELETE", f"/images/{image_id}")

    def share(self, image_id: str, project: str) -> None:
        """Offer an image to another project, which has yet to accept it."""
        self._document("POST", f"/images/{image_id}/members", {"member": project})

    def accept(self, image_id: str, project: str, status: str = "accepted") -> None:
        """Say what the own project makes of an image that is offered to it."""
        self._document("PUT", f"/images/{image_id}/members/{project}", {"status": status})

    def unshare(self, image_id: str, project: str) -> None:
        """Share an image with a project no longer."""
        self._document("DELETE", f"/images/{image_id}/members/{project}")

    def members(self, image_id: str) -> dict[str, str]:
        """Tell what the projects to which a shared image is offered made of it."""
        members = self._document("GET", f"/images/{image_id}/members")["members"]
        return {member["member_id"]: member["status"] for member in members}

    def show(self, image_id: str) -> Fields:
        """Give an image."""
        return dict(self._document("GET", f"/images/{image_id}"))

    def everything(self) -> list[Fields]:
        """Give all images, the newest first."""
        return list(self._pages())

    def _pages(self) -> Iterator[Fields]:
        path = _EVERYTHING
        while path:
            page = self._document("GET", path)
            yield from page["images"]
            path = page.get("next", "").removeprefix("/v2")

    def _document(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        answer = self._glance.ask(method, path, body, token=self._token, kind=kind)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


def _set(**fields: object) -> list[Fields]:
    """Say as Glance takes it that fields have these values from now on, whether or not they are there."""
    return [{"op": "add", "path": f"/{name}", "value": value} for name, value in fields.items()]
