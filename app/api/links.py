"""Links in responses."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from flask import request
from starlette.datastructures import Headers

from app.api.context import settings
from app.catalog.models import JsonObject
from app.errors import InvalidHost


@dataclass(frozen=True)
class LinkBuilder:
    """What every link of an answer begins with, and the tenant that it names, as the request has it."""

    compute: str
    glance: str
    tenant: str

    def image(self, image_id: str) -> list[JsonObject]:
        """Link to an image in the Compute API, and in the image service."""
        path = f"{self.tenant}/images/{image_id}"  # nothing in it needs to be escaped: the contract says so
        alternate = {
            "rel": "alternate",
            "href": f"{self.glance}/{path}",
            "type": "application/vnd.openstack.image",
        }
        return [*self._own(path), alternate]

    def server(self, server_id: str) -> list[JsonObject]:
        """Link to a server in the Compute API."""
        return self._own(f"{self.tenant}/servers/{quote(server_id, safe='')}")

    def next_page(self, path: str, query_string: bytes, marker: str) -> list[JsonObject]:
        """Link to the page after the marker: the same request but for its marker."""
        query = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="surrogateescape")
        kept = [(name, value) for name, value in query if name != "marker"]
        changed = urlencode([*kept, ("marker", marker)], errors="surrogateescape")
        return [{"rel": "next", "href": f"{self.compute}{path}?{changed}"}]

    def _own(self, path: str) -> list[JsonObject]:
        return [
            {"rel": "self", "href": f"{self.compute}/v2/{path}"},
            {"rel": "bookmark", "href": f"{self.compute}/{path}"},
        ]


_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(:(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535


def link_builder(tenant_id: str) -> LinkBuilder:
    """Give what the links of a tenant's answers begin with. Raises BadHost."""
    return LinkBuilder(compute_url(), settings.glance_url or compute_url(), tenant_id)


def compute_url() -> str:
    """Give what links to this service begin with. Raises BadHost."""
    return settings.compute_url or _request_origin()


def _request_origin() -> str:
    host = ",".join(Headers(scope=request.environ["asgi.scope"]).getlist("host"))
    match = _HOST.fullmatch(host)
    if not match or int(match["port"] or 0) > _MAX_PORT:
        raise InvalidHost(host)
    return f"{request.scheme}://{host}"
