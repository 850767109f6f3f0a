"""Callers' own ways to the image service: what they change is changed there first, what is new there is found."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from typing import Any
from uuid import UUID

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.bodies import read, replay
from app.catalog import Catalog, Changes, Metadata, check_count, learn, learn_change, learn_end
from app.catalog_file import BadFile
from app.current import token
from app.faults import (
    BadBody,
    CatalogBusy,
    CatalogUnavailable,
    DomainError,
    ImageNotFound,
    UpstreamConflict,
    UpstreamForbids,
    UpstreamUnavailable,
    quote,
)
from app.mirror.glance import Glance, UpstreamFailed, cloud
from app.mirror.mapping import image_record, is_field, properties
from app.views import Document

_ANSWER_IN = 20  # seconds: a large image takes some to be deleted
_FOUND_IN = 5
_AT_ONCE = 8  # questions of one worker for images that its catalog lacks

_log = logging.getLogger(__name__)

Ways = Callable[[str, str, float], Glance]


def ways() -> Ways:
    """Give how a Glance is reached by its URL, with a caller's token, in so many seconds.

    The cloud tells which certificates are believed; it is read when a copy is first served.
    """
    session = cache(lambda: cloud().get_session())
    return lambda url, token, answer_in: Glance(session(), url, token=token, answer_in=answer_in)


class ThroughGlance(Changes):
    """Changes of a copy are made in Glance, with the caller's token, and then in the catalog.

    Beside what others raise, each raises Unauthorized, UpstreamForbids, UpstreamConflict and UpstreamUnavailable, where
    the catalog stays as it was. Other catalogs than copies are changed as ever.
    """

    def __init__(
        self, catalog: Catalog, way: Ways, refused: Callable[[str], Exception], *, tombstone_days: int
    ) -> None:
        """Take the way to Glance, and what makes the error for a token that Glance does not take."""
        super().__init__(catalog, tombstone_days=tombstone_days)
        self._way = way
        self._refused = refused

    def delete(self, tenant: str, image_id: str, *, is_admin: bool) -> None:
        """Delete an image, and make its copy a tombstone."""
        url = self._upstream(tenant, image_id, is_admin=is_admin)
        if url is None:
            super().delete(tenant, image_id, is_admin=is_admin)
            return
        with self._as_faults(image_id):
            self._way(url, token(), _ANSWER_IN).delete(image_id)
        with _logged(image_id):
            learn_end(self._catalog.path, image_id, tombstone_days=self._tombstone_days)

    def edit_metadata(
        self, tenant: str, image_id: str, edit: Callable[[Metadata], Metadata], *, is_admin: bool
    ) -> Metadata:
        """Give an image the properties that the function makes of those that it has; and give them back."""
        url = self._upstream(tenant, image_id, is_admin=is_admin)
        if url is None:
            return super().edit_metadata(tenant, image_id, edit, is_admin=is_admin)
        with self._as_faults(image_id):
            glance = self._way(url, token(), _ANSWER_IN)
            image = _copied(glance.image(image_id))
            before = properties(image)
            changes = _difference(before, _allowed(before, edit(before)))
            changed = glance.patch(image_id, changes) if changes else image
            record = image_record(changed)
        with _logged(image_id):
            learn_change(self._catalog.path, record)
        return properties(changed)

    @contextmanager
    def _as_faults(self, image_id: str) -> Iterator[None]:
        """Make what Glance answers an error of the domain."""
        try:
            yield
        except UpstreamFailed as error:
            raise self._error(error, image_id) from error
        except BadFile as error:
            _log.error("image %s at the image service is not as it should be: %s", image_id, error)
            raise UpstreamUnavailable from error

    def _error(self, error: UpstreamFailed, image_id: str) -> Exception:
        match error.status:
            case HTTPStatus.BAD_REQUEST:
                return BadBody("the image service does not take it")
            case HTTPStatus.UNAUTHORIZED:
                return self._refused("The image service does not know the token, or no longer")
            case HTTPStatus.FORBIDDEN | HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                return UpstreamForbids(image_id)
            case HTTPStatus.NOT_FOUND:
                return ImageNotFound()
            case HTTPStatus.CONFLICT:
                return UpstreamConflict(image_id)
        _log.error("the image service cannot be asked: %s: %s", error, error.__cause__)
        return UpstreamUnavailable()


class FindNew:
    """Asks Glance for an image that the catalog lacks, with the caller's token: a mirror comes some seconds later.

    Only its owner and administrators see a shared one until the mirror has found out who the members are.
    """

    def __init__(self, next_app: ASGIApp, catalog: Catalog, way: Ways, token_header: str) -> None:
        self._next_app = next_app
        self._catalog = catalog
        self._way = way
        self._token_header = token_header
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="glance")

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
        image_id, url = scope["path_params"]["image_id"], self._catalog.upstream()
        if url is None or not _is_uuid(image_id) or self._catalog.knows(image_id):
            return False
        glance = self._way(url, Headers(scope=scope)[self._token_header], _FOUND_IN)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._learn, glance, image_id)

    def _learn(self, glance: Glance, image_id: str) -> bool:
        try:
            image = glance.image(image_id)
            if image is None:
                return False
            record = image_record(image)
            if record.status == "DELETED" or image.get("os_hidden"):  # which no list has, and so no mirror
                return False
            if record.visibility == "shared":
                record = record._replace(visibility="private")
            learn(self._catalog.path, record)
        except (UpstreamFailed, BadFile, DomainError) as error:
            _log.warning("image %s cannot be found at the image service: %s", image_id, error)
            return False
        return True


def _copied(image: Any) -> Document:
    """Give an image if it can be copied, once it is changed. Raises ImageNotFound where it is None, and BadFile."""
    if image is None:
        raise ImageNotFound
    image_record(image)
    return dict(image)


def _allowed(before: Metadata, after: Metadata) -> Metadata:
    """Give the metadata, if an image may have them. Raises BadBody and TooManyItems."""
    check_count(before, after)
    for key in after:
        if is_field(key):
            raise BadBody(
                f"{quote(key)} is what the image service itself says of an image, and no item of its metadata"
            )
    return after


def _difference(before: Metadata, after: Metadata) -> list[Document]:
    """Say what makes the one of the other, as RFC 6902 does."""
    removed: list[Document] = [{"op": "remove", "path": _pointer(key)} for key in before if key not in after]
    set_: list[Document] = [
        {"op": "replace" if key in before else "add", "path": _pointer(key), "value": value}
        for key, value in after.items()
        if key not in before or before[key] != value
    ]
    return removed + set_


def _pointer(key: str) -> str:
    """Point to a property, as RFC 6901 does."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


@contextmanager
def _logged(image_id: str) -> Iterator[None]:
    """Have a change be made that the catalog does not take at once: the mirror brings it."""
    try:
        yield
    except (CatalogBusy, CatalogUnavailable) as error:
        _log.warning("image %s was changed at the image service, but not yet in the catalog: %s", image_id, error)
