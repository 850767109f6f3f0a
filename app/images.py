"""The operations: one function for each operationId of the contract, the same name in Python's spelling."""

import re
from typing import Any

from flask import Response, current_app, request
from starlette.datastructures import Headers
from werkzeug.local import LocalProxy

from app import views
from app.bridge import JSON
from app.catalog import Catalog, Query
from app.faults import BadHost
from app.settings import Settings

catalog: Catalog = LocalProxy(lambda: current_app.extensions["catalog"])  # type: ignore[assignment]
settings: Settings = LocalProxy(lambda: current_app.extensions["settings"])  # type: ignore[assignment]

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(:(?P<port>[0-9]{1,5}))?")
_LAST_PORT = 65535


def list_images_details(tenant_id: str, **query: Any) -> Response:
    """Answer with a page of the images that the tenant can see, in detail."""
    page = catalog.find(tenant_id, Query(**query), at_most=settings.max_limit)
    return JSON(views.image_list(page, _links(tenant_id), request.path, request.query_string))


def _links(tenant_id: str) -> views.Links:
    return views.Links(settings.compute_url or _origin(), settings.glance_url or _origin(), tenant_id)


def _origin() -> str:
    host = ",".join(Headers(scope=request.environ["asgi.scope"]).getlist("host"))
    match = _HOST.fullmatch(host)
    if not match or int(match["port"] or 0) > _LAST_PORT:
        raise BadHost(host)
    return f"{request.scheme}://{host}"
