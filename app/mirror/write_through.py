"""Changes of images of a copy: made at the image service first, with the caller's own token."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import orjson

from app.api.context import current_token
from app.catalog.documents import InvalidImageFile
from app.catalog.editor import ImageEditor, check_metadata_quota
from app.catalog.models import JsonObject, Metadata, StoredImage, Upstream
from app.catalog.replica import SYNC_STATUS_REASON, apply_delete, apply_update
from app.catalog.sqlite.reader import CatalogReader
from app.errors import DomainError, ImageNotFound, InvalidBody, UpstreamConflict, UpstreamForbidden, UpstreamUnavailable
from app.mirror.client import CloudConfigError, GlanceClientFactory, UpstreamError
from app.mirror.mapping import is_field, properties, require_not_deleted
from app.text import quote

_REQUEST_TIMEOUT = 20  # seconds: a large image takes some to be deleted

_log = logging.getLogger(__name__)


class WriteThroughEditor(ImageEditor):
    """Changes of a copy are made in Glance, with the caller's token, and then in the catalog.

    Beside what others raise, each raises Unauthorized, UpstreamForbids, UpstreamConflict and UpstreamUnavailable, where
    the catalog stays as it was. Other catalogs than copies are changed as ever.
    """

    def __init__(
        self,
        catalog: CatalogReader,
        way: GlanceClientFactory,
        refused: Callable[[str], Exception],
        *,
        tombstone_days: int,
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
            self._way(upstream.url, current_token(), _REQUEST_TIMEOUT).delete(image_id)
        self._learn_end(image_id, upstream)

    def edit_metadata(
        self, tenant: str, image_id: str, edit: Callable[[Metadata], Metadata], *, is_admin: bool
    ) -> Metadata:
        """Give an image the properties that the function makes of those that it has; and give them back."""
        held, upstream = self._look(tenant, image_id, is_admin=is_admin)
        if upstream is None:
            return super().edit_metadata(tenant, image_id, edit, is_admin=is_admin)
        with self._as_faults(image_id, upstream):
            glance = self._way(upstream.url, current_token(), _REQUEST_TIMEOUT)
            image = glance.image(image_id)
            if image is None:
                raise ImageNotFound
            require_not_deleted(image)  # or it could not be copied once it is changed
            before = properties(image)
            after = _drop_echoed_status_reason(held, before, _validate_metadata(before, edit(before)))
            changes = _json_patch(before, after)
            changed = glance.patch(image_id, changes) if changes else image
            record = require_not_deleted(changed)
        with _log_deferred(image_id):
            apply_update(self._catalog.path, upstream, record)
        return properties(changed)

    def _learn_end(self, image_id: str, upstream: Upstream) -> None:
        with _log_deferred(image_id):
            apply_delete(self._catalog.path, upstream.url, image_id, tombstone_days=self._tombstone_days)

    @contextmanager
    def _as_faults(self, image_id: str, upstream: Upstream) -> Iterator[None]:
        """Make what Glance answers an error of the domain. An image that its owner does not find there is gone."""
        try:
            yield
        except ImageNotFound:
            self._learn_end(image_id, upstream)
            raise
        except UpstreamError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                self._learn_end(image_id, upstream)
            raise self._error(error, image_id) from error
        except CloudConfigError as error:
            _log.error("the image service cannot be asked: %s", error)
            raise UpstreamUnavailable from error
        except InvalidImageFile as error:
            _log.error("image %s at the image service is not as it should be: %s", image_id, error)
            raise UpstreamUnavailable from error

    def _error(self, error: UpstreamError, image_id: str) -> Exception:
        match error.status:
            case HTTPStatus.BAD_REQUEST:
                return InvalidBody("the image service does not take it")
            case HTTPStatus.UNAUTHORIZED:
                return self._refused("The image service does not know the token, or no longer")
            case HTTPStatus.FORBIDDEN | HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                return UpstreamForbidden(image_id)
            case HTTPStatus.NOT_FOUND:
                return ImageNotFound()
            case HTTPStatus.CONFLICT:
                return UpstreamConflict(image_id)
        _log.error("the image service cannot be asked: %s: %s", error, error.__cause__)
        return UpstreamUnavailable()


def _validate_metadata(before: Metadata, after: Metadata) -> Metadata:
    """Give the metadata, if an image may have them. Raises BadBody and TooManyItems."""
    check_metadata_quota(before, after)
    for key in after:
        if is_field(key):
            raise InvalidBody(
                f"{quote(key)} is what the image service itself says of an image, and no item of its metadata"
            )
    return after


def _drop_echoed_status_reason(held: StoredImage, before: Metadata, after: Metadata) -> Metadata:
    """Leave out what the copy says of itself, where a caller sends all back that it was told."""
    reason: str | None = orjson.loads(held.metadata).get(SYNC_STATUS_REASON)
    return {key: value for key, value in after.items() if key != SYNC_STATUS_REASON or key in before or value != reason}


def _json_patch(before: Metadata, after: Metadata) -> list[JsonObject]:
    """Say what makes the one of the other, as RFC 6902 does."""
    removed: list[JsonObject] = [{"op": "remove", "path": _json_pointer(key)} for key in before if key not in after]
    set_: list[JsonObject] = [
        {"op": "replace" if key in before else "add", "path": _json_pointer(key), "value": value}
        for key, value in after.items()
        if key not in before or before[key] != value
    ]
    return removed + set_


def _json_pointer(key: str) -> str:
    """Point to a property, as RFC 6901 does."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


@contextmanager
def _log_deferred(image_id: str) -> Iterator[None]:
    """Have a change be made that the catalog does not take at once: the mirror brings it."""
    try:
        yield
    except DomainError as error:
        _log.warning("image %s was changed at the image service, but not yet in the catalog: %s", image_id, error)
