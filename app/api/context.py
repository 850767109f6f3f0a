"""What operations work with: the catalog, the settings, who is calling, and what links of the answer begin with."""

from email.utils import formatdate
from http import HTTPStatus

from flask import current_app, request
from werkzeug.local import LocalProxy

from app.auth.base import Authenticator, Caller
from app.catalog.editor import ImageEditor
from app.catalog.models import JsonObject
from app.catalog.sqlite.reader import CatalogReader
from app.framework.responses import JSONResponse
from app.mirror.staleness import StalenessMonitor
from app.settings import Settings

catalog: CatalogReader = LocalProxy(lambda: current_app.extensions["catalog"])  # type: ignore[assignment]
editor: ImageEditor = LocalProxy(lambda: current_app.extensions["changes"])  # type: ignore[assignment]
settings: Settings = LocalProxy(lambda: current_app.extensions["settings"])  # type: ignore[assignment]

staleness: StalenessMonitor = LocalProxy(lambda: current_app.extensions["freshness"])  # type: ignore[assignment]


def current_caller() -> Caller:
    """Tell who sent the request at hand."""
    identity: Authenticator = current_app.extensions["identity"]
    return identity.caller(request.environ["asgi.scope"])


def current_token() -> str:
    """Give the token that was sent with the request at hand."""
    identity: Authenticator = current_app.extensions["identity"]
    return identity.token(request.environ["asgi.scope"])


def catalog_response(document: JsonObject) -> JSONResponse:
    """Answer with what was read from the catalog: where that is a copy that got old, the answer says how old."""
    response = JSONResponse(document)
    if not request.environ["asgi.scope"]["state"]["fresh"]:  # as `Answers` found it
        response.status_code = HTTPStatus.NON_AUTHORITATIVE_INFORMATION
        response.headers["Cache-Control"] = "no-store"  # the copy may be fresh in the next moment
        response.headers["Last-Modified"] = formatdate(staleness.since(), usegmt=True)
    return response
