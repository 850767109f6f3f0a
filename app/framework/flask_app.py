"""The way from Connexion to Flask: on the event loop, and with the document beside its bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from io import BytesIO
from typing import Any

from a2wsgi.wsgi import build_environ
from connexion.apps.flask import FlaskApi
from connexion.context import context
from connexion.decorators import FlaskDecorator
from connexion.decorators.parameter import SyncParameterDecorator
from connexion.middleware.abstract import SpecMiddleware
from connexion.operations import AbstractOperation
from flask import Flask, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from app.asgi import read_body
from app.catalog.sqlite.database import WRITER_TIMEOUT
from app.errors import CatalogBusy
from app.framework.responses import JSONResponse

View = Callable[..., Response]


class _CachedParameterDecorator(SyncParameterDecorator):
    """Passes parameters to an operation as Connexion does, and looks up only once how each is called in Python."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sanitize_fn: Callable[[str], str] = lru_cache(maxsize=64)(self.sanitize_fn)


class _CachedFlaskDecorator(FlaskDecorator):
    """Decorates an operation as Connexion does, but at the start, and not anew for each request."""

    _parameter_decorator_cls = _CachedParameterDecorator

    def __call__(self, function: View) -> View:
        decorated = self.decorate(function)

        def operation(**_path: str) -> Response:
            context.clear()  # of what security said in its own way: operations would take it for parameters
            return decorated(self.framework.get_request(uri_parser=self.uri_parser))  # type: ignore[no-any-return]

        return operation


class _FlaskApi(FlaskApi):
    def make_operation(self, operation: AbstractOperation) -> View:
        return _CachedFlaskDecorator(pythonic_params=self.pythonic_params, jsonifier=self.jsonifier)(operation.function)


class FlaskDispatcher(SpecMiddleware):
    """Calls Flask where Connexion calls it: on the event loop, unless something is to be changed.

    The bridge that comes with Connexion hands each request to a thread and each part of the answer back: three hops,
    which cost more than all that lies between them. It is safe to do without them, because all that a GET waits for is
    a read of a SQLite file along an index: nearly always that takes less than a hop, and no reader waits for a writer.
    A writer waits for others, so what may write goes to a thread: one at a time as SQLite has it, or some where they
    wait for an image service most of the time.
    """

    def __init__(self, flask: Flask, *, writers: int) -> None:
        self._flask = flask
        self._writers = asyncio.Semaphore(writers)

    def add_api(self, specification: Any, **options: Any) -> None:
        """Give Flask the operations of the contract."""
        self._flask.register_blueprint(_FlaskApi(specification, **options).blueprint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the document goes beside the bytes of the answer."""
        if scope["method"] == "GET":
            response = self._dispatch(scope, b"")
        else:
            body = await read_body(receive)
            async with self._turn():
                response = await run_in_threadpool(self._dispatch, scope, body)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        document = response.document if isinstance(response, JSONResponse) else None
        await send({"type": "http.response.body", "body": response.get_data(), "document": document})

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for other writers of this worker, here and not in threads, which are for others too."""
        try:
            await asyncio.wait_for(self._writers.acquire(), WRITER_TIMEOUT)
        except TimeoutError:
            raise CatalogBusy from None
        try:
            yield
        finally:
            self._writers.release()

    def _dispatch(self, scope: Scope, body: bytes) -> Response:
        environ: dict[str, Any] = build_environ(scope, BytesIO(body))  # type: ignore[arg-type, assignment]
        # A proxy says ws and wss of a WebSocket that was asked for; Flask would look for one of its own.
        environ["wsgi.url_scheme"] = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        environ["HTTP_HOST"] = "localhost"  # Flask refuses some that links may begin with, even where none does
        environ["CONTENT_LENGTH"] = str(len(body))  # of what came in chunks, too, which Flask would not read as such
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        with self._flask.request_context(environ):
            return self._flask.full_dispatch_request()
