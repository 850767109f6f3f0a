"""Images that a copy lacks: they are looked for at the image service, with the caller's own token."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send

from app.bodies import read, replay
from app.catalog import Catalog, learn
from app.faults import DomainError, ImageNotFound
from app.identity import Identity
from app.mirror.glance import UpstreamFailed, Ways
from app.mirror.mapping import image_record, is_listed

_FOUND_IN = 5  # seconds
_AT_ONCE = 8  # questions of one worker

_log = logging.getLogger(__name__)


class FindNew:
    """Asks Glance for an image that the catalog lacks, with the caller's token: a mirror comes some seconds later.

    Only its owner and administrators see a shared one until the mirror has found out who the members are.
    """

    def __init__(self, next_app: ASGIApp, catalog: Catalog, way: Ways, identity: Identity) -> None:
        self._next_app = next_app
        self._catalog = catalog
        self._way = way
        self._identity = identity
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="finding")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered, and once more if its image was found only now."""
        body = await read(receive)
        try:
            await self._next_app(scope, replay(body, receive), send)
        except ImageNotFound:
            if not await self._find(scope):
                raise
            await self._next_app(scope, replay(body, receive), send)

    async def _find(self, scope: Scope) -> bool:
        image_id, upstream = scope["path_params"]["image_id"], self._catalog.upstream()
        # Where the mirror is no administrator, there are images that it never meets: to a pass, they are gone.
        if upstream is None or not upstream.is_admin or not _is_uuid(image_id) or self._catalog.knows(image_id):
            return False
        look = partial(self._learn, upstream.url, self._identity.token(scope), image_id)
        try:
            async with asyncio.timeout(_FOUND_IN):  # for those included who wait for a thread
                return await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except TimeoutError:
            _log.warning("image %s was not found at the image service in time", image_id)
            return False

    def _learn(self, url: str, token: str, image_id: str) -> bool:
        try:
            image = self._way(url, token, _FOUND_IN).image(image_id)
            if image is None:
                return False
            record = image_record(image)
            if not is_listed(image, record):
                return False
            if record.visibility == "shared":
                record = record._replace(visibility="private")
            learn(self._catalog.path, url, record)
        except (UpstreamFailed, DomainError) as error:
            _log.warning("image %s cannot be found at the image service: %s", image_id, error)
            return False
        return True


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
