"""The services that operations use, and the responses that they build."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import current_app

from app.catalog.editor import Editor
from app.catalog.models import Image, JsonObject
from app.catalog.reader import CatalogReader
from app.context import current_request
from app.double.state import Double
from app.framework.responses import JSONResponse
from app.mirror.staleness import StalenessMonitor
from app.settings import Settings

if TYPE_CHECKING:
    from app.api.image_lists import ImageList
    from app.api.readiness import ReadinessMonitor

EXTENSION = "compute-images"  # the key of the services among Flask's extensions


@dataclass(frozen=True)
class Services:
    """The services that operations use."""

    settings: Settings
    catalog: CatalogReader
    editor: Editor
    staleness: StalenessMonitor
    readiness: "ReadinessMonitor"
    image_lists: "Mapping[str, ImageList]"  # by operationId
    double: Double | None = None


def services() -> Services:
    """Return the services of the application."""
    return current_app.extensions[EXTENSION]  # type: ignore[no-any-return]


def catalog_response(document: JsonObject, images: Sequence[Image] = (), *, body: bytes | None = None) -> JSONResponse:
    """Build the response to a read.

    `images` are those that the document was serialized from. If it is invalid, their values are examined for damage.
    If the catalog is a stale replica, the response states the replica's age (203).
    """
    response = JSONResponse(document, body=body)
    response.images = images
    # A lock may have kept the cache from finding out that the catalog is not stale.
    stale_since = None if current_request.get().is_fresh else services().staleness.stale_since()
    if stale_since is not None:
        response.status_code = HTTPStatus.NON_AUTHORITATIVE_INFORMATION
        response.headers["Cache-Control"] = "no-store"  # the replica may be fresh again at any time
        response.headers["Last-Modified"] = formatdate(stale_since, usegmt=True)
    return response
