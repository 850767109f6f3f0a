"""Operations that control a test double."""

from http import HTTPStatus

from flask import Response

from app.api.context import services
from app.api.links import link_builder
from app.api.serializers import serialize_image
from app.catalog.models import JsonObject
from app.double.state import Double
from app.framework.responses import JSONResponse, NoContentResponse, UncachedResponse
from app.mirror.mapping import to_file_image
from app.timestamps import seconds

_PROJECT = "openstack"  # for the links of images without an owner


def reset_double() -> Response:
    """Restore the state at the start."""
    _double().reset()
    return NoContentResponse()


def add_test_images(body: JsonObject) -> Response:
    """Add images, or change those whose ids the catalog has."""
    images = _double().add_images(from_glance=to_file_image, **body)
    return _created({"images": [serialize_image(each, link_builder(each.owner or _PROJECT)) for each in images]})


def add_test_token(body: JsonObject) -> Response:
    """Add a token of the catalog."""
    return _created({"token": _double().add_token(**body["token"])})


def show_clock() -> Response:
    """Return the time of the clock."""
    return UncachedResponse({"clock": {"time": _double().clock.now()}})


def set_clock(body: JsonObject) -> Response:
    """Set the clock."""
    _double().clock.set(seconds(body["clock"]["time"]))
    return show_clock()


def advance_clock(body: JsonObject) -> Response:
    """Advance the clock."""
    _double().clock.advance(body["clock"]["advance"])
    return show_clock()


def show_page_size() -> Response:
    """Return the page size of lists for which a request states no limit."""
    return UncachedResponse({"pages": {"size": _double().page_size}})


def set_page_size(body: JsonObject) -> Response:
    """Set the page size of lists for which a request states no limit."""
    size = body["pages"]["size"]
    _double().page_size = size and int(size)  # in JSON, 2.0 is an integer, too
    return show_page_size()


def list_requests() -> Response:
    """Return the last requests."""
    return UncachedResponse({"requests": [each.document() for each in _double().requests]})


def list_failures() -> Response:
    """Return the planned failures."""
    return UncachedResponse({"failures": _double().failures.documents()})


def add_failure(body: JsonObject) -> Response:
    """Plan a failure."""
    return _created({"failure": _double().failures.add(body["failure"]).document()})


def _double() -> Double:
    double = services().double
    if double is None:
        raise RuntimeError("The service is not a test double, but the contract has the operations of one.")
    return double


def _created(document: JsonObject) -> Response:
    response = JSONResponse(document)
    response.status_code = HTTPStatus.CREATED
    return response
