"""Write-through: changes to a replica's images are made at the image service first, with the caller's token."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import orjson

from app.catalog.documents import InvalidImageFile
from app.catalog.editor import ImageEditor, check_metadata_quota
from app.catalog.engine import Engine
from app.catalog.models import JsonObject, Metadata, StoredImage, Upstream
from app.catalog.replica import SYNC_STATUS_REASON, apply_delete, apply_update
from app.context import RequestContext
from app.errors import DomainError, ImageNotFound, InvalidBody, UpstreamConflict, UpstreamForbidden, UpstreamUnavailable
from app.mirror.client import CloudConfigError, GlanceClient, UpstreamError
from app.mirror.cloud import GlanceClientFactory
from app.mirror.mapping import custom_properties, is_reserved, to_catalog_image
from app.text import quote
from app.timestamps import SYSTEM_CLOCK, Clock

_REQUEST_TIMEOUT = 20  # seconds; Glance needs several to delete a large image

_log = logging.getLogger(__name__)


class WriteThroughEditor:
    """Edits the images of a replica in Glance first, then in the catalog. Edits images of other catalogs directly.

    In addition to the errors of ImageEditor, each method raises Unauthorized, UpstreamForbidden, UpstreamConflict and
    UpstreamUnavailable, which leave the catalog unchanged.
    """

    def __init__(  # noqa: PLR0913 each is a dependency or a limit
        self,
        editor: ImageEditor,
        engine: Engine,
        client_factory: GlanceClientFactory,
        unauthorized: Callable[[str], Exception],
        *,
        tombstone_days: int,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Set the editor for other catalogs, and the function that builds the error for a rejected token."""
        self._editor = editor
        self._engine = engine
        self._client_factory = client_factory
        self._unauthorized = unauthorized
        self._tombstone_days = tombstone_days
        self._clock = clock

    def delete(self, context: RequestContext, project_id: str, image_id: str) -> None:
        """Delete an image in Glance, and turn it into a tombstone in the catalog."""
        _, upstream = self._editor.get_editable_image(context, project_id, image_id)
        if upstream is None:
            self._editor.delete(context, project_id, image_id)
            return
        with self._translate_errors(image_id, upstream):
            glance = self._client(upstream, context)
            upstream_id = self._engine.read_sync_status().upstream_id(image_id)
            with _missing_image_is_not_found(glance, upstream_id):
                glance.delete_image(upstream_id)
        self._apply_delete(image_id, upstream)

    def edit_metadata(
        self, context: RequestContext, project_id: str, image_id: str, edit: Callable[[Metadata], Metadata]
    ) -> Metadata:
        """Replace the metadata of an image with the result of `edit` for it. Return the new metadata."""
        stored, upstream = self._editor.get_editable_image(context, project_id, image_id)
        if upstream is None:
            return self._editor.edit_metadata(context, project_id, image_id, edit)
        with self._translate_errors(image_id, upstream):
            glance = self._client(upstream, context)
            image = glance.get_image(self._engine.read_sync_status().upstream_id(image_id))
            if image is None:
                raise ImageNotFound
            converted = to_catalog_image(image)  # Glance would patch an invalid image, which the catalog cannot store
            if converted.status != "DELETED":
                before = custom_properties(image)
                after = _drop_echoed_status_reason(stored, before, _validate_metadata(before, edit(before)))
                image = _patch(glance, image["id"], before, after) if after != before else image
                converted = to_catalog_image(image)
        with _log_deferred(image_id):
            apply_update(self._engine, upstream, converted, clock=self._clock)
        if converted.status == "DELETED":  # it is being deleted
            raise ImageNotFound
        return custom_properties(image)

    def _client(self, upstream: Upstream, context: RequestContext) -> GlanceClient:
        return self._client_factory(upstream.url, context.token, _REQUEST_TIMEOUT)

    def _apply_delete(self, image_id: str, upstream: Upstream) -> None:
        with _log_deferred(image_id):
            apply_delete(self._engine, upstream.url, image_id, tombstone_days=self._tombstone_days, clock=self._clock)

    @contextmanager
    def _translate_errors(self, image_id: str, upstream: Upstream) -> Iterator[None]:
        """Raise errors of the client as domain errors. An image that Glance lacks is deleted from the catalog.

        Without a record of full syncs, Glance may have the image's id in another case.
        """
        try:
            yield
        except ImageNotFound:
            if self._engine.read_sync_status().full_synced_at is not None:
                self._apply_delete(image_id, upstream)
            raise
        except UpstreamError as error:
            raise self._domain_error(error, image_id) from error
        except CloudConfigError as error:
            _log.error("Image %s could not be changed: %s", image_id, error)
            raise UpstreamUnavailable from error
        except InvalidImageFile as error:
            _log.error("The image service returned an invalid image %s: %s", image_id, error)
            raise UpstreamUnavailable from error

    def _domain_error(self, error: UpstreamError, image_id: str) -> Exception:
        match error.status:
            case HTTPStatus.BAD_REQUEST:
                return InvalidBody("the image service rejected it")
            case HTTPStatus.UNAUTHORIZED:
                return self._unauthorized("The image service rejected the token")
            case HTTPStatus.FORBIDDEN | HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                return UpstreamForbidden(image_id)
            case HTTPStatus.CONFLICT:
                return UpstreamConflict(image_id)
        _log.error("Image %s could not be changed: %s", image_id, error.explanation)
        return UpstreamUnavailable()


@contextmanager
def _missing_image_is_not_found(glance: GlanceClient, image_id: str) -> Iterator[None]:
    """Raise ImageNotFound for a 404, if Glance does not have the image: a 404 can also have other causes."""
    try:
        yield
    except UpstreamError as error:
        if error.status == HTTPStatus.NOT_FOUND and glance.get_image(image_id) is None:
            raise ImageNotFound from error
        raise


def _patch(glance: GlanceClient, image_id: str, before: Metadata, after: Metadata) -> Any:
    """Change the custom properties of an image, and return the image. Raises InvalidBody for names that are taken."""
    added = after.keys() - before.keys()
    try:
        with _missing_image_is_not_found(glance, image_id):
            return glance.patch_image(image_id, _json_patch(before, after))
    except UpstreamError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise InvalidBody("the image service rejected it") from error
        if error.status == HTTPStatus.CONFLICT and added and added.isdisjoint(glance.get_image(image_id) or added):
            names = quote(", ".join(sorted(added)))
            raise InvalidBody(f"the image service cannot store a metadata item with the key {names}") from error
        raise


def _validate_metadata(before: Metadata, after: Metadata) -> Metadata:
    """Return the new metadata. Raises MetadataQuotaExceeded, and InvalidBody for changed items with a reserved key."""
    check_metadata_quota(before, after)
    for key in sorted(before.keys() | after.keys()):
        if is_reserved(key) and (key not in after or key not in before or before[key] != after[key]):
            raise InvalidBody(f"the image service does not allow changes of a metadata item with the key {quote(key)}")
    return after


def _drop_echoed_status_reason(stored: StoredImage, before: Metadata, after: Metadata) -> Metadata:
    """Drop the replica's own `sync_status_reason` if a client echoes it back."""
    reason: str | None = orjson.loads(stored.metadata).get(SYNC_STATUS_REASON)
    return {key: value for key, value in after.items() if key != SYNC_STATUS_REASON or key in before or value != reason}


def _json_patch(before: Metadata, after: Metadata) -> list[JsonObject]:
    """Build the JSON patch that turns one set of properties into another."""
    removed: list[JsonObject] = [{"remove": _json_pointer(key)} for key in before if key not in after]
    changed: list[JsonObject] = [
        {"replace" if key in before else "add": _json_pointer(key), "value": value}
        for key, value in after.items()
        if key not in before or before[key] != value
    ]
    return removed + changed


def _json_pointer(key: str) -> str:
    """Return the JSON pointer (RFC 6901) to a property."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


@contextmanager
def _log_deferred(image_id: str) -> Iterator[None]:
    """Log a change that Glance accepted but the catalog cannot store now; the next sync applies it."""
    try:
        yield
    except DomainError as error:
        _log.warning("Image %s was changed at the image service, but not yet in the catalog: %s", image_id, error)
