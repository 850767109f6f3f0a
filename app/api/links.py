"""Links in responses."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from flask import request

from app.api.context import services
from app.asgi import request_origin
from app.catalog.models import JsonObject


@dataclass(frozen=True)
class LinkBuilder:
    """Builds the links of a response: the base URLs of both services, and the project id as the request spells it.

    The project id is percent-encoded.
    """

    compute_url: str
    glance_url: str
    project_id: str

    def image(self, image_id: str) -> list[JsonObject]:
        """Return the links to an image in the Compute API and in the image service."""
        path = f"{self.project_id}/images/{image_id}"  # the contract allows no image id that needs encoding
        alternate = {
            "rel": "alternate",
            "href": f"{self.glance_url}/{path}",
            "type": "application/vnd.openstack.image",
        }
        return [*self._compute_links(path), alternate]

    def server(self, server_id: str) -> list[JsonObject]:
        """Return the links to a server in the Compute API."""
        return self._compute_links(f"{self.project_id}/servers/{quote(server_id, safe='')}")

    def next_page(self, path: str, query_string: bytes, marker: str) -> list[JsonObject]:
        """Return the link to the page after the marker: the same request with another marker.

        Some clients add their own query to it again, which must not make it longer from page to page.
        """
        query = dict(parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="surrogateescape"))
        query.pop("marker", None)
        next_query = urlencode(query | {"marker": marker}, errors="surrogateescape")
        return [{"rel": "next", "href": f"{self.compute_url}{quote(path)}?{next_query}"}]

    def _compute_links(self, path: str) -> list[JsonObject]:
        return [
            {"rel": "self", "href": f"{self.compute_url}/v2/{path}"},
            {"rel": "bookmark", "href": f"{self.compute_url}/{path}"},
        ]


def link_builder(project_id: str) -> LinkBuilder:
    """Return the link builder for the current request. Raises InvalidHost."""
    compute = compute_url()
    return LinkBuilder(compute, services().settings.glance_url or compute, quote(project_id))


def compute_url() -> str:
    """Return the base URL of the service: the configured one, or that of the request. Raises InvalidHost."""
    return services().settings.compute_url or request_origin(request.environ["asgi.scope"])
