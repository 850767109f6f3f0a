"""Flask responses."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response

from app.catalog.models import Image


class JSONResponse(Response):
    """A JSON response with the document that it was serialized from, so that its validation need not parse it."""

    images: Sequence[Image] = ()  # of the catalog, which the document was serialized from

    def __init__(self, document: dict[str, Any], *, body: bytes | None = None) -> None:
        """Set the document, and its JSON if it exists. The JSON may contain more than the document, if it is valid."""
        super().__init__(orjson.dumps(document) if body is None else body, mimetype="application/json")
        self.document = document


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
