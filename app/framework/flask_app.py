"""ASGI-to-WSGI adapter.

Runs Flask on the event loop, and passes the JSON document along with the serialized body.
"""

import asyncio
import time
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
from app.catalog.documents import first_invalid
from app.catalog.engine import WRITER_TIMEOUT, Engine
from app.catalog.errors import CatalogBusy, CatalogDamaged, QueryTimeout, ReadLimitExceeded, TooManySlowQueries
from app.errors import DomainError, InvalidResponse
from app.framework.responses import CatalogResponse, DeferredResponse, JSONResponse

View = Callable[..., Response]

# Limits of a read on the event loop: a page of a thousand images, and one that shows whether more follow; twice the
# CPU time that this page takes; and more elapsed time, for busy machines. The response is built and validated after it.
_LOOP_LIMITS = {"seconds": 0.008, "cpu_seconds": 0.004, "images": 1001}


class _CachedParameterDecorator(SyncParameterDecorator):
    """Connexion's parameter decorator, with a cache for the conversion of parameter names to Python's."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sanitize_fn: Callable[[str], str] = lru_cache(maxsize=64)(self.sanitize_fn)


class _CachedFlaskDecorator(FlaskDecorator):
    """Connexion's decorator of operations, applied at the start instead of for each request."""

    _parameter_decorator_cls = _CachedParameterDecorator

    def __call__(self, function: View) -> View:
        decorated = self.decorate(function)

        def operation(**_path: str) -> Response:
            context.clear()  # Connexion would pass values that the security handler stored there as parameters
            return decorated(self.framework.get_request(uri_parser=self.uri_parser))  # type: ignore[no-any-return]

        return operation


class _FlaskApi(FlaskApi):
    def make_operation(self, operation: AbstractOperation) -> View:
        return _CachedFlaskDecorator(pythonic_params=self.pythonic_params, jsonifier=self.jsonifier)(operation.function)


class Slots:
    """Slots that requests wait for, without occupying a thread."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.waiting = 0  # requests

    @asynccontextmanager
    async def take(self, timeout: float, error: DomainError) -> AsyncIterator[None]:
        """Occupy a slot for a block. Raises the error if none is free within the timeout (seconds)."""
        self.waiting += 1
        try:
            await asyncio.wait_for(self._free.acquire(), timeout)
        except TimeoutError:
            raise error from None
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._free.release()


class FlaskDispatcher(SpecMiddleware):
    """Calls Flask in place of Connexion's adapter: reads on the event loop, slow reads and writes in threads.

    Connexion's adapter uses a thread for each request and one for each part of the response. Those switches cost more
    than everything between them. Reads need no thread: a read along an index of a SQLite file nearly always takes less
    time than a switch, and readers do not wait for writers. A read that takes longer, or finds the file locked, is
    interrupted, so that it does not delay other requests, and repeated in a thread. Writers may wait for others, so
    they run in threads: one at a time, as SQLite allows, or several if they spend most of their time waiting for an
    image service.
    """

    def __init__(self, flask: Flask, engine: Engine, *, query_timeout: int, writers: Slots) -> None:
        """Set the seconds after which a read that needs a thread is given up, and the slots of concurrent writes."""
        self._flask = flask
        self._engine = engine
        self._query_timeout = query_timeout
        self._slow_readers = Slots(engine.max_readers)
        self._writers = writers

    def add_api(self, specification: Any, **options: Any) -> None:
        """Register the operations of the contract in Flask."""
        self._flask.register_blueprint(_FlaskApi(specification, **options).blueprint)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send Flask's response, with its document as an additional key of the body's message."""
        if scope["method"] == "GET":
            try:
                with self._engine.read_limits(**_LOOP_LIMITS):
                    response = self._dispatch(scope, b"")
            except (ReadLimitExceeded, CatalogBusy):
                response = await self._repeat_in_thread(scope)
            if isinstance(response, DeferredResponse):
                response = await response.build()
        else:
            body = await read_body(receive)
            async with self._writers.take(WRITER_TIMEOUT, CatalogBusy()):
                response = await run_in_threadpool(self._dispatch, scope, body)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        document = response.document if isinstance(response, JSONResponse) else None
        try:
            await send({"type": "http.response.body", "body": response.get_data(), "document": document})
        except InvalidResponse:
            problem = first_invalid(response.images) if isinstance(response, CatalogResponse) else None
            if problem:
                raise CatalogDamaged(problem) from None
            raise

    async def _repeat_in_thread(self, scope: Scope) -> Response:
        """Repeat a read. The time limit includes the wait for a thread."""
        deadline = time.monotonic() + self._query_timeout
        async with self._slow_readers.take(self._query_timeout, TooManySlowQueries(self._query_timeout)):
            return await run_in_threadpool(self._dispatch_slow_read, scope, deadline)

    def _dispatch_slow_read(self, scope: Scope, deadline: float) -> Response:
        try:
            with self._engine.read_limits(deadline - time.monotonic()):
                return self._dispatch(scope, b"")
        except ReadLimitExceeded:
            raise QueryTimeout(self._query_timeout) from None

    def _dispatch(self, scope: Scope, body: bytes) -> Response:
        environ: dict[str, Any] = build_environ(scope, BytesIO(body))  # type: ignore[arg-type, assignment]
        # For these schemes, which a proxy may set, Flask would look for a WebSocket route.
        environ["wsgi.url_scheme"] = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        environ["HTTP_HOST"] = "localhost"  # Flask would reject some hosts that links may contain
        environ["CONTENT_LENGTH"] = str(len(body))  # Flask would not read a body that was sent in chunks
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        with self._flask.request_context(environ):
            return self._flask.full_dispatch_request()
