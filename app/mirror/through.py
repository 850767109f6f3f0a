"""Changes of images of a copy: made at the image service first, with the caller's own token."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import orjson

from app.catalog import (
    REASON,
    Catalog,
    Changes,
    Metadata,
    Record,
    Upstream,
    check_count,
    learn_change,
    learn_end,
)
from app.catalog_file import BadFile
from app.current import token
from app.faults import (
    BadBody,
    DomainError,
    ImageNotFound,
    UpstreamConflict,
    UpstreamForbids,
    UpstreamUnavailable,
    quote,
)
from app.mirror.glance import CloudUnusable, UpstreamFailed, Ways
from app.mirror.mapping import existing, is_field, properties
from app.views import Document

_ANSWER_IN = 20  # seconds: a large image takes some to be deleted

_log = logging.getLogger(__name__)


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
        _, upstream = self._look(tenant, image_id, is_admin=is_admin)
        if upstream is None:
            super().delete(tenant, image_id, is_admin=is_admin)
            return
        with self._as_faults(image_id, upstream):
            self._way(upstream.url, token(), _ANSWER_IN).delete(image_id)
        self._learn_end(image_id, upstream)

    def edit_metadata(
        self, tenant: str, image_id: str, edit: Callable[[Metadata], Metadata], *, is_admin: bool
    ) -> Metadata:
        """Give an image the properties that the function makes of those that it has; and give them back."""
        held, upstream = self._look(tenant, image_id, is_admin=is_admin)
        if upstream is None:
            return super().edit_metadata(tenant, image_id, edit, is_admin=is_admin)
        with self._as_faults(image_id, upstream):
            glance = self._way(upstream.url, token(), _ANSWER_IN)
            image = glance.image(image_id)
            if image is None:
                raise ImageNotFound
            existing(image)  # or it could not be copied once it is changed
            before = properties(image)
            after = _without_reason(held, before, _allowed(before, edit(before)))
            changes = _difference(before, after)
            changed = glance.patch(image_id, changes) if changes else image
            record = existing(changed)
        with _logged(image_id):
            learn_change(self._catalog.path, upstream, record)
        return properties(changed)

    def _learn_end(self, image_id: str, upstream: Upstream) -> None:
        with _logged(image_id):
            learn_end(self._catalog.path, upstream.url, image_id, tombstone_days=self._tombstone_days)

    @contextmanager
    def _as_faults(self, image_id: str, upstream: Upstream) -> Iterator[None]:
        """Make what Glance answers an error of the domain. An image that its owner does not find there is gone."""
        try:
            yield
        except ImageNotFound:
            self._learn_end(image_id, upstream)
            raise
        except UpstreamFailed as error:
            if error.status == HTTPStatus.NOT_FOUND:
                self._learn_end(image_id, upstream)
            raise self._error(error, image_id) from error
        except CloudUnusable as error:
            _log.error("the image service cannot be asked: %s", error)
            raise UpstreamUnavailable from error
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


def _allowed(before: Metadata, after: Metadata) -> Metadata:
    """Give the metadata, if an image may have them. Raises BadBody and TooManyItems."""
    check_count(before, after)
    for key in after:
        if is_field(key):
            raise BadBody(
                f"{quote(key)} is what the image service itself says of an image, and no item of its metadata"
            )
    return after


def _without_reason(held: Record, before: Metadata, after: Metadata) -> Metadata:
    """Leave out what the copy says of itself, where a caller sends all back that it was told."""
    reason: str | None = orjson.loads(held.metadata).get(REASON)
    return {key: value for key, value in after.items() if key != REASON or key in before or value != reason}


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


@contextmanager
def _logged(image_id: str) -> Iterator[None]:
    """Have a change be made that the catalog does not take at once: the mirror brings it."""
    try:
        yield
    except DomainError as error:
        _log.warning("image %s was changed at the image service, but not yet in the catalog: %s", image_id, error)
