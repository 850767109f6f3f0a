"""The way from Connexion to Flask: on the event loop, and with the document beside its bytes."""

from io import BytesIO
from typing import Any

import orjson
from a2wsgi.wsgi import build_environ
from flask import Flask, Response
from starlette.types import Receive, Scope, Send


class JSON(Response):
    """An answer that still knows the document it was made from, so that nobody has to parse it again."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(orjson.dumps(document), mimetype="application/json")
        self.document = document


class OnTheLoop:
    """Calls Flask where Connexion calls it: on the event loop.

    The bridge that comes with Connexion hands each request to a thread and each part of the answer back: three hops,
    which cost more than all that lies between them. It is safe to do without them, because all that an operation waits
    for is a read of a SQLite file: that takes less than a hop, and no reader waits for a writer.
    """

    def __init__(self, flask: Flask) -> None:
        self._flask = flask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer a request, whose body no operation reads; the document goes beside the bytes of the answer."""
        environ: dict[str, Any] = build_environ(scope, BytesIO())  # type: ignore[arg-type, assignment]
        environ["HTTP_HOST"] = "localhost"  # Flask refuses some that links may begin with, even where none does
        with self._flask.request_context(environ):
            response = self._flask.full_dispatch_request()
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        document = response.document if isinstance(response, JSON) else None
        await send({"type": "http.response.body", "body": response.get_data(), "document": document})
