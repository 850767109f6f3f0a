"""Flask responses."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response

from app.catalog.models import Image

_PART = 1000  # items of a list: as many as a page has by default


class JSONResponse(Response):
    """A JSON response with the document that it was serialized from, so that its validation need not parse it."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(_dump(document), mimetype="application/json")
        self.document = document


class CatalogResponse(JSONResponse):
    """A response that is built from images of the catalog."""

    def __init__(self, document: dict[str, Any], images: Sequence[Image]) -> None:
        super().__init__(document)
        self.images = images


class UncachedResponse(JSONResponse):
    """A JSON response that no cache may store."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.headers["Cache-Control"] = "no-store"


class DeferredResponse(Response):
    """Stands for a response that a coroutine builds, after the operation has returned."""

    def __init__(self, build: Callable[[], Awaitable[JSONResponse]]) -> None:
        super().__init__()
        self.build = build


class NoContentResponse(Response):
    """A response without a body."""

    default_mimetype = None

    def __init__(self) -> None:
        super().__init__(status=HTTPStatus.NO_CONTENT)


def in_parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a document with a long list as several documents, each with a part of the list.

    Serializing or validating a document holds the interpreter's lock. Between the parts, other threads can run.
    """
    name = _long_list(document)
    if name is None:
        yield document
    else:
        yield from (document | {name: part} for part in _slices(document[name]))


def _dump(document: dict[str, Any]) -> bytes:
    name = _long_list(document)
    if name:
        items = b",".join(orjson.dumps(part)[1:-1] for part in _slices(document[name]))
        document = document | {name: orjson.Fragment(b"[" + items + b"]")}
    return orjson.dumps(document)


def _long_list(document: dict[str, Any]) -> str | None:
    """Return the name of the list that is too long to be processed at once."""
    return next((name for name, value in document.items() if isinstance(value, list) and len(value) > _PART), None)


def _slices(items: list[Any]) -> Iterator[list[Any]]:
    return (items[start : start + _PART] for start in range(0, len(items), _PART))
