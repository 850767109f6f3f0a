"""ASGI-to-WSGI adapter.

Runs Flask on the event loop, or in a thread if the operation waits, and passes the JSON document along with the
serialized body.
"""

from collections.abc import Callable, Collection
from functools import partial
from io import BytesIO
from typing import Any

from a2wsgi.wsgi import build_environ
from connexion.apps.flask import FlaskApi
from connexion.middleware.abstract import SpecMiddleware
from connexion.operations import AbstractOperation
from flask import Flask, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send
from werkzeug.routing import Rule

from app.asgi import read_body
from app.catalog.documents import first_invalid
from app.catalog.engine import WRITER_TIMEOUT
from app.catalog.errors import CatalogBusy, CatalogDamaged
from app.catalog.executor import ReadExecutor, Slots
from app.context import RequestContext
from app.errors import InvalidResponse
from app.framework.responses import DeferredResponse, JSONResponse

View = Callable[..., Response]


class _FlaskApi(FlaskApi):
    def make_operation(self, operation: AbstractOperation) -> View:
        """Return the operation itself. It is called with the arguments that validation has parsed.

        Connexion's decorator would parse them again, which takes 100 µs of an uncached response.
        """
        return operation.function  # type: ignore[no-any-return]


class FlaskDispatcher(SpecMiddleware):
    """Calls Flask in place of Connexion's adapter, without a thread where none is necessary.

    Connexion's adapter uses a thread for each request and one for each part of the response. These switches cost more
    than everything between them. The executor decides where reads of the catalog run; other reads run on the event
    loop. Writes may wait for other writers, so they run in threads: one at a time, because a catalog has one writer, or
    several if they spend most of their time waiting for an image service.
    """

    def __init__(self, flask: Flask, reads: ReadExecutor, writers: Slots, *, independent: Collection[str]) -> None:
        """Set the slots of concurrent writes, and the paths whose responses do not depend on the catalog."""
        self._flask = flask
        # Without a URL adapter, Flask does not route requests. Connexion has routed them already. Flask's routing could
        # find another operation, and would take 40 µs of an uncached response.
        flask.create_url_adapter = lambda _request: None  # type: ignore[method-assign, assignment]
        self._rules = dict[str, Rule]()  # by operationId
        self._reads = reads
        self._writers = writers
        self._independent = independent

    def add_api(self, specification: Any, **options: Any) -> None:
        """Register the operations of the contract in Flask."""
        blueprint = _FlaskApi(specification, **options).blueprint
        self._flask.register_blueprint(blueprint)
        for rule in self._flask.url_map.iter_rules():
            self._rules[rule.endpoint.removeprefix(f"{blueprint.name}.")] = rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send Flask's response, with its document as an additional key of the body's message."""
        if scope["method"] != "GET":
            body = await read_body(receive)
            async with self._writers.take(WRITER_TIMEOUT, CatalogBusy()):
                response = await run_in_threadpool(self._dispatch, scope, body)
        elif scope["path"] in self._independent:
            response = self._dispatch(scope)
        else:
            response = await self._reads.run(partial(self._dispatch, scope))
        if isinstance(response, DeferredResponse):
            response = await response.build()
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        document = response.document if isinstance(response, JSONResponse) else None
        try:
            await send({"type": "http.response.body", "body": response.get_data(), "document": document})
        except InvalidResponse:
            problem = first_invalid(response.images) if isinstance(response, JSONResponse) else None
            if problem:
                raise CatalogDamaged(problem) from None
            raise

    def _dispatch(self, scope: Scope, body: bytes = b"") -> Response:
        environ: dict[str, Any] = build_environ(scope, BytesIO(body))  # type: ignore[arg-type, assignment]
        environ["CONTENT_LENGTH"] = str(len(body))  # Flask would not read a body that was sent in chunks
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        context = RequestContext.of(scope)
        with self._flask.request_context(environ) as flask_context:
            flask_context.request.url_rule = self._rules[context.operation]
            flask_context.request.view_args = context.arguments
            return self._flask.full_dispatch_request()
