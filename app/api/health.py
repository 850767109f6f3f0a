"""The health check."""

from typing import TYPE_CHECKING

from flask import Response

from app.api.context import services
from app.api.serializers import serialize_mirror_health
from app.framework.responses import JSONResponse

if TYPE_CHECKING:
    from app.catalog.models import JsonObject


def check_health() -> Response:
    """Return the state of the catalog, of the response cache and of the mirror. Raises CatalogUnavailable.

    Cache statistics are shown only without authentication; otherwise they would reveal other callers' requests.
    """
    service = services()
    service.catalog.ping()
    document: JsonObject = {"status": "available"}
    if service.settings.auth == "none":
        document["cache"] = service.cache_stats()._asdict()
    if service.catalog.upstream() is not None:
        document["mirror"] = serialize_mirror_health(service.catalog.sync_status(), service.clock.time())
    response = JSONResponse(document)
    response.headers["Cache-Control"] = "no-store"
    return response
