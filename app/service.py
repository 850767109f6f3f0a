"""The operations on the service itself: what it is, and how it is."""

import time

from flask import Response, request

from app.bridge import JSON
from app.current import catalog, compute_url, settings
from app.freshness import passes_of
from app.views import Document, mirror_health, version


def list_versions() -> Response:
    """Answer with the versions of the API: there is one."""
    return JSON({"versions": [version(compute_url())]})


def show_version() -> Response:
    """Answer with the version of the API."""
    return JSON({"version": version(compute_url())})


show_version_of_root = show_version


def check_health() -> Response:
    """Answer that the catalog can be read, and how old a copy is. Raises CatalogUnavailable where it cannot be read.

    What the worker did is told where nobody is asked who is calling: elsewhere it would tell of what others ask for.
    """
    catalog.check()
    document: Document = {"status": "available"}
    if settings.auth == "none":
        answers = request.environ["asgi.scope"]["state"]["answers"]  # the middleware that passed the request on
        document["answers"] = answers.statistics._asdict()
    if catalog.upstream() is not None:
        document["mirror"] = mirror_health(passes_of(settings.catalog), time.time())
    answer = JSON(document)
    answer.headers["Cache-Control"] = "no-store"
    return answer
