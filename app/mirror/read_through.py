"""Read-through: images that a replica lacks are fetched from the image service, with the caller's token."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from app.asgi import read_body, replay_body
from app.catalog.executor import ReadExecutor
from app.catalog.models import Upstream
from app.catalog.replica import insert_image
from app.context import RequestContext
from app.errors import DomainError, ImageNotFound
from app.mirror.client import UpstreamError
from app.mirror.cloud import GlanceClientFactory
from app.mirror.mapping import to_catalog_image
from app.text import normalize_uuid
from app.timestamps import SYSTEM_CLOCK, Clock

_FETCH_TIMEOUT = 5  # seconds
_MAX_CONCURRENCY = 8  # fetches of one worker

_log = logging.getLogger(__name__)


class ReadThroughMiddleware:
    """Fetches an image on a miss, so that it is available before the next sync.

    Only the owner and administrators can see a shared image until a sync has collected its members.
    """

    def __init__(
        self,
        next_app: ASGIApp,
        reads: ReadExecutor,
        client_factory: GlanceClientFactory,
        *,
        timeout: float = _FETCH_TIMEOUT,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._next_app = next_app
        self._reads = reads
        self._client_factory = client_factory
        self._timeout = timeout
        self._clock = clock
        self._threads = ThreadPoolExecutor(_MAX_CONCURRENCY, thread_name_prefix="read-through")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and once more if its image was fetched after a miss."""
        body = await read_body(receive)
        try:
            await self._next_app(scope, replay_body(body, receive), send)
        except ImageNotFound:
            if not await self._fetch(scope):
                raise
            await self._next_app(scope, replay_body(body, receive), send)

    async def _fetch(self, scope: Scope) -> bool:
        """Return whether the request's image was missing in the catalog and is stored now."""
        image_id = scope["path_params"]["image_id"]
        if normalize_uuid(image_id) != image_id:
            return False
        upstream, is_stored = await self._reads.run(partial(self._look_up, image_id))
        # Without admin credentials, the next full sync may not see the image, and would delete it.
        if upstream is None or not upstream.is_admin or is_stored:
            return False
        store = partial(self._fetch_and_store, upstream.url, RequestContext.of(scope).token, image_id)
        run = partial(copy_context().run, store)  # the thread's log lines need the request id
        try:
            async with asyncio.timeout(self._timeout):  # includes the wait for a thread
                return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except TimeoutError:
            _log.warning("Image %s was not fetched from the image service in time", image_id)
            return False

    def _look_up(self, image_id: str) -> tuple[Upstream | None, bool]:
        with self._reads.engine.snapshot() as snapshot:
            return snapshot.upstream(), snapshot.contains(image_id)

    def _fetch_and_store(self, url: str, token: str, image_id: str) -> bool:
        try:
            image = self._client_factory(url, token, self._timeout).get_image(image_id)
            if image is None:
                return False
            converted = to_catalog_image(image)
            if converted.visibility == "shared":
                # Its members are unknown. As its visibility differs from upstream, the next sync fetches them.
                converted = replace(converted, visibility="private")
            insert_image(self._reads.engine, url, converted, clock=self._clock)
        except (UpstreamError, DomainError) as error:
            _log.warning("Image %s could not be fetched: %s", image_id, error)
            return False
        return True
