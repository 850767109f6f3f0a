"""The health check."""

import time
from typing import TYPE_CHECKING

from flask import Response, request

from app.api.context import catalog, settings
from app.api.serializers import serialize_mirror_health
from app.framework.responses import JSONResponse
from app.mirror.status import read_sync_status

if TYPE_CHECKING:
    from app.catalog.models import JsonObject


def check_health() -> Response:
    """Answer that the catalog can be read, and how old a copy is. Raises CatalogUnavailable where it cannot be read.

    What the worker did is told where nobody is asked who is calling: elsewhere it would tell of what others ask for.
    """
    catalog.check()
    document: JsonObject = {"status": "available"}
    if settings.auth == "none":
        answers = request.environ["asgi.scope"]["state"]["answers"]  # the middleware that passed the request on
        document["cache"] = answers.statistics._asdict()
    if catalog.upstream() is not None:
        document["mirror"] = serialize_mirror_health(read_sync_status(settings.catalog), time.time())
    answer = JSONResponse(document)
    answer.headers["Cache-Control"] = "no-store"
    return answer
