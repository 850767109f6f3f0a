"""Images that a copy lacks: they are looked for at the image service, with the caller's own token."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send

from app.asgi import read_body, replay_body
from app.auth.base import Authenticator
from app.catalog.replica import insert_image
from app.catalog.sqlite.reader import CatalogReader
from app.errors import DomainError, ImageNotFound
from app.mirror.client import GlanceClientFactory, UpstreamError
from app.mirror.mapping import is_visible, to_catalog_image

_FETCH_TIMEOUT = 5  # seconds
_MAX_CONCURRENCY = 8  # questions of one worker

_log = logging.getLogger(__name__)


class ReadThroughMiddleware:
    """Asks Glance for an image that the catalog lacks, with the caller's token: a mirror comes some seconds later.

    Only its owner and administrators see a shared one until the mirror has found out who the members are.
    """

    def __init__(
        self, next_app: ASGIApp, catalog: CatalogReader, way: GlanceClientFactory, identity: Authenticator
    ) -> None:
        self._next_app = next_app
        self._catalog = catalog
        self._way = way
        self._identity = identity
        self._threads = ThreadPoolExecutor(_MAX_CONCURRENCY, thread_name_prefix="finding")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered, and once more if its image was found only now."""
        body = await read_body(receive)
        try:
            await self._next_app(scope, replay_body(body, receive), send)
        except ImageNotFound:
            if not await self._find(scope):
                raise
            await self._next_app(scope, replay_body(body, receive), send)

    async def _find(self, scope: Scope) -> bool:
        image_id, upstream = scope["path_params"]["image_id"], self._catalog.upstream()
        # Where the mirror is no administrator, there are images that it never meets: to a pass, they are gone.
        if upstream is None or not upstream.is_admin or not _is_uuid(image_id) or self._catalog.knows(image_id):
            return False
        look = partial(self._learn, upstream.url, self._identity.token(scope), image_id)
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT):  # for those included who wait for a thread
                return await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except TimeoutError:
            _log.warning("image %s was not found at the image service in time", image_id)
            return False

    def _learn(self, url: str, token: str, image_id: str) -> bool:
        try:
            image = self._way(url, token, _FETCH_TIMEOUT).image(image_id)
            if image is None:
                return False
            record = to_catalog_image(image)
            if not is_visible(image, record):
                return False
            if record.visibility == "shared":
                record = record._replace(visibility="private")
            insert_image(self._catalog.path, url, record)
        except (UpstreamError, DomainError) as error:
            _log.warning("image %s cannot be found at the image service: %s", image_id, error)
            return False
        return True


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
