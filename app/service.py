"""The operations on the service itself: what it is, and how it is."""

from flask import Response, request

from app.bridge import JSON
from app.current import catalog, compute_url
from app.views import version


def list_versions() -> Response:
    """Answer with the versions of the API: there is one."""
    return JSON({"versions": [version(compute_url())]})


def show_version() -> Response:
    """Answer with the version of the API."""
    return JSON({"version": version(compute_url())})


show_version_of_root = show_version


def check_health() -> Response:
    """Answer that the catalog can be read, and what the worker did. Raises CatalogUnavailable where it cannot."""
    catalog.check()
    answers = request.environ["asgi.scope"]["state"]["answers"]  # the middleware that passed the request on
    answer = JSON({"status": "available", "answers": answers.statistics._asdict()})
    answer.headers["Cache-Control"] = "no-store"
    return answer
