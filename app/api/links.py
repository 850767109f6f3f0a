"""Links in responses."""

from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from flask import request

from app.api.context import services
from app.asgi import request_origin
from app.catalog.models import JsonObject


class LinkBuilder(NamedTuple):
    """Builds the links `self`, `bookmark` and `alternate`. Each begins with one of the URLs, which name the project."""

    compute: str
    bookmark: str
    glance: str

    def image(self, image_id: str) -> list[JsonObject]:
        """Return the links to an image in the Compute API and in the image service."""
        path = f"images/{image_id}"  # the contract allows no image id that needs encoding
        alternate = {"rel": "alternate", "href": f"{self.glance}/{path}", "type": "application/vnd.openstack.image"}
        return [*self._compute_links(path), alternate]

    def server(self, server_id: str) -> list[JsonObject]:
        """Return the links to a server in the Compute API."""
        return self._compute_links(f"servers/{quote(server_id, safe='')}")

    def _compute_links(self, path: str) -> list[JsonObject]:
        return [
            {"rel": "self", "href": f"{self.compute}/{path}"},
            {"rel": "bookmark", "href": f"{self.bookmark}/{path}"},
        ]


def link_builder(project_id: str) -> LinkBuilder:
    """Return the link builder for a project, whose id is spelled as in the current request. Raises InvalidHost."""
    compute, project = compute_url(), quote(project_id)
    glance = services().settings.glance_url or compute
    return LinkBuilder(f"{compute}/v2/{project}", f"{compute}/{project}", f"{glance}/{project}")


def next_page(marker: str) -> list[JsonObject]:
    """Return the link to the page after the marker: the current request with another marker. Raises InvalidHost.

    Some clients add their own query to it again, which must not make it longer from page to page.
    """
    text = request.query_string.decode("ascii")
    query = dict(parse_qsl(text, keep_blank_values=True, errors="surrogateescape"))
    query.pop("marker", None)
    next_query = urlencode(query | {"marker": marker}, errors="surrogateescape")
    return [{"rel": "next", "href": f"{compute_url()}{quote(request.path)}?{next_query}"}]


def compute_url() -> str:
    """Return the base URL of the service: the configured one, or that of the request. Raises InvalidHost."""
    return services().settings.compute_url or request_origin(request.environ["asgi.scope"])
