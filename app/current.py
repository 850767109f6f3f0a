"""What operations work with: the catalog, the settings, who is calling, and what links of the answer begin with."""

import re
from email.utils import formatdate
from http import HTTPStatus

from flask import current_app, request
from starlette.datastructures import Headers
from werkzeug.local import LocalProxy

from app.bridge import JSON
from app.catalog import Catalog, Changes
from app.faults import BadHost
from app.freshness import Freshness
from app.identity import Caller, Identity
from app.settings import Settings
from app.views import Document, Links

catalog: Catalog = LocalProxy(lambda: current_app.extensions["catalog"])  # type: ignore[assignment]
changes: Changes = LocalProxy(lambda: current_app.extensions["changes"])  # type: ignore[assignment]
settings: Settings = LocalProxy(lambda: current_app.extensions["settings"])  # type: ignore[assignment]

freshness: Freshness = LocalProxy(lambda: current_app.extensions["freshness"])  # type: ignore[assignment]

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(:(?P<port>[0-9]{1,5}))?")
_LAST_PORT = 65535


def caller() -> Caller:
    """Tell who sent the request at hand."""
    identity: Identity = current_app.extensions["identity"]
    return identity.caller(request.environ["asgi.scope"])


def token() -> str:
    """Give the token that was sent with the request at hand."""
    identity: Identity = current_app.extensions["identity"]
    return identity.token(request.environ["asgi.scope"])


def answer(document: Document) -> JSON:
    """Answer with what was read from the catalog: where that is a copy that got old, the answer says how old."""
    response = JSON(document)
    if not request.environ["asgi.scope"]["state"]["fresh"]:  # as `Answers` found it
        response.status_code = HTTPStatus.NON_AUTHORITATIVE_INFORMATION
        response.headers["Cache-Control"] = "no-store"  # the copy may be fresh in the next moment
        response.headers["Last-Modified"] = formatdate(freshness.since(), usegmt=True)
    return response


def links_of(tenant_id: str) -> Links:
    """Give what the links of a tenant's answers begin with. Raises BadHost."""
    return Links(compute_url(), settings.glance_url or compute_url(), tenant_id)


def compute_url() -> str:
    """Give what links to this service begin with. Raises BadHost."""
    return settings.compute_url or _origin()


def _origin() -> str:
    host = ",".join(Headers(scope=request.environ["asgi.scope"]).getlist("host"))
    match = _HOST.fullmatch(host)
    if not match or int(match["port"] or 0) > _LAST_PORT:
        raise BadHost(host)
    return f"{request.scheme}://{host}"
