"""Flask responses."""

from http import HTTPStatus
from typing import Any

import orjson
from flask import Response


class JSONResponse(Response):
    """An answer that still knows the document it was made from, so that nobody has to parse it again."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(orjson.dumps(document), mimetype="application/json")
        self.document = document


class NoContentResponse(Response):
    """An answer without a body."""

    default_mimetype = None

    def __init__(self) -> None:
        super().__init__(status=HTTPStatus.NO_CONTENT)
