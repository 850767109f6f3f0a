"""Operations on the metadata of an image."""

from collections.abc import Callable

from flask import Response

from app.api.context import catalog_response, services
from app.catalog.documents import image_metadata
from app.catalog.models import JsonObject, Metadata
from app.context import current_request
from app.errors import InvalidBody, MetadataItemNotFound
from app.framework.responses import JSONResponse, NoContentResponse
from app.text import quote


def list_metadata(tenant_id: str, image_id: str) -> Response:
    """Return all metadata items of an image."""
    image = services().catalog.get_image(tenant_id, image_id)
    return catalog_response({"metadata": image_metadata(image)}, [image])


def update_metadata(tenant_id: str, image_id: str, body: JsonObject) -> Response:
    """Add or change metadata items of an image, and return all items."""
    items: Metadata = body["metadata"]
    return JSONResponse({"metadata": _edit(tenant_id, image_id, lambda before: before | items)})


def replace_metadata(tenant_id: str, image_id: str, body: JsonObject) -> Response:
    """Replace all metadata items of an image."""
    items: Metadata = body["metadata"]
    return JSONResponse({"metadata": _edit(tenant_id, image_id, lambda _: items)})


def show_metadata_item(tenant_id: str, image_id: str, key: str) -> Response:
    """Return a metadata item of an image."""
    image = services().catalog.get_image(tenant_id, image_id)
    return catalog_response({"meta": _item(key, image_metadata(image))}, [image])


def set_metadata_item(tenant_id: str, image_id: str, key: str, body: JsonObject) -> Response:
    """Add or change a metadata item of an image."""
    item: Metadata = body["meta"]
    if key not in item:
        raise InvalidBody(f"it does not contain the item {quote(key)}, which the path names")
    _edit(tenant_id, image_id, lambda before: before | item)
    return JSONResponse({"meta": item})


def delete_metadata_item(tenant_id: str, image_id: str, key: str) -> Response:
    """Delete a metadata item of an image."""

    def without_item(before: Metadata) -> Metadata:
        deleted = _item(key, before)
        return {name: value for name, value in before.items() if name not in deleted}

    _edit(tenant_id, image_id, without_item)
    return NoContentResponse()


def _edit(tenant_id: str, image_id: str, edit: Callable[[Metadata], Metadata]) -> Metadata:
    return services().editor.edit_metadata(current_request.get(), tenant_id, image_id, edit)


def _item(key: str, metadata: Metadata) -> Metadata:
    """Return the item with the key. Raises MetadataItemNotFound."""
    if key not in metadata:
        raise MetadataItemNotFound(key)
    return {key: metadata[key]}
