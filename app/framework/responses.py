"""Flask responses."""

from http import HTTPStatus
from typing import Any

import orjson
from flask import Response


class JSONResponse(Response):
    """A JSON response with the document that it was serialized from, so that its validation need not parse it."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(orjson.dumps(document), mimetype="application/json")
        self.document = document


class NoContentResponse(Response):
    """A response without a body."""

    default_mimetype = None

    def __init__(self) -> None:
        super().__init__(status=HTTPStatus.NO_CONTENT)
