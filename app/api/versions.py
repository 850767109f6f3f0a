"""Operations on API versions."""

from flask import Response

from app.api.links import compute_url
from app.api.serializers import serialize_version
from app.framework.responses import JSONResponse


def list_versions() -> Response:
    """Return all versions of the API: there is one."""
    return JSONResponse({"versions": [serialize_version(compute_url())]})


def show_version() -> Response:
    """Return the version of the API."""
    return JSONResponse({"version": serialize_version(compute_url())})


show_version_of_root = show_version
