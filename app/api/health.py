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

    Cache statistics and the ids of images are shown only without authentication; otherwise they would reveal other
    callers' requests and images.
    """
    service = services()
    service.catalog.ping()
    document: JsonObject = {"status": "available"}
    is_open = service.settings.auth == "none"
    if is_open:
        document["cache"] = service.cache_stats()._asdict()
    if service.catalog.upstream() is not None:
        status = service.catalog.sync_status()
        document["mirror"] = serialize_mirror_health(status, service.clock.time(), with_images=is_open)
    response = JSONResponse(document)
    response.headers["Cache-Control"] = "no-store"
    return response
