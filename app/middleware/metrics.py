"""Metrics: records each request, and serves the metrics of all processes at /metrics."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.asgi import require_read
from app.auth.base import Authenticator, TokenAuthenticator
from app.catalog.engine import Engine
from app.catalog.executor import Slots
from app.context import RequestContext
from app.contract.document import Contract
from app.metrics.page import MetricsPage
from app.metrics.recorder import CACHE_BYTES, CACHE_ENTRIES, IN_FLIGHT, WRITES_WAITING, Recorder
from app.middleware.response_cache import ResponseStore
from app.timestamps import Clock

_PATH = "/metrics"


class MetricsMiddleware:
    """Records each request, before the last part of its response is sent, so that the next scrape includes it."""

    def __init__(self, next_app: ASGIApp, recorder: Recorder) -> None:
        self._next_app = next_app
        self._recorder = recorder
        self._in_flight = 0
        recorder.watch(IN_FLIGHT, lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record it."""
        if scope["type"] != "http":
            await self._sample_during(self._next_app(scope, receive, send))
            return
        context = RequestContext.of(scope)
        status = 500  # the server responds with 500 if the application sends nothing

        def record() -> None:
            seconds = perf_counter() - context.begin
            if not scope["state"].get("is_recorded"):  # as rejected by the server
                self._recorder.record_response(context.operation, status, seconds, context.cache_result)

        async def send_recorded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body"):
                record()
                status = 0
            await send(message)

        counts = scope["path"] != _PATH
        self._in_flight += counts
        try:
            await self._next_app(scope, receive, send_recorded)
        finally:
            self._in_flight -= counts
            if status:  # the response is incomplete
                record()

    async def _sample_during(self, lifespan: Awaitable[None]) -> None:
        sampling = asyncio.create_task(self._recorder.keep_sampling())
        try:
            await lifespan
        finally:
            sampling.cancel()
            with suppress(asyncio.CancelledError):
                await sampling
            self._recorder.close()


class MetricsPageMiddleware:
    """Serves the metrics in the formats of Prometheus."""

    def __init__(self, next_app: ASGIApp, page: MetricsPage) -> None:
        self._next_app = next_app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the metrics, or pass the request on."""
        if scope["type"] != "http" or scope["path"] != _PATH:
            await self._next_app(scope, receive, send)
            return
        require_read(scope)
        body, media_type = await self._page.read(Headers(scope=scope).get("accept", ""))
        headers = {"content-type": media_type, "cache-control": "no-store"}
        await Response(body, headers=headers)(scope, receive, send)


class Metrics:
    """The metrics of a worker: records them, and serves those of all workers."""

    def __init__(self, folder: Path, contract: Contract) -> None:
        """Set the folder in which all workers record metrics."""
        self._recorder = Recorder(folder, contract.secured_operations)
        self.record = partial(MetricsMiddleware, recorder=self._recorder)
        self.record_response = self._recorder.record_response
        self.record_rejection = self._recorder.record_rejection

    def connect(
        self, engine: Engine, authenticator: Authenticator, store: ResponseStore, writers: Slots, *, clock: Clock
    ) -> None:
        """Set the parts of the application that are recorded."""
        self.page = partial(MetricsPageMiddleware, page=MetricsPage(self._recorder, engine, clock))
        self._recorder.watch(CACHE_ENTRIES, lambda: store.entries)
        self._recorder.watch(CACHE_BYTES, lambda: store.bytes)
        self._recorder.watch(WRITES_WAITING, lambda: writers.waiting)
        store.on_invalidate = self._recorder.record_catalog_version
        if isinstance(authenticator, TokenAuthenticator):
            authenticator.on_validation = self._recorder.record_validation
