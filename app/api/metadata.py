"""The operations on the metadata of an image."""

from collections.abc import Callable

from flask import Response

from app.api.context import catalog, catalog_response, current_caller, editor
from app.catalog.documents import image_metadata
from app.catalog.models import JsonObject, Metadata
from app.errors import InvalidBody, MetadataItemNotFound
from app.framework.responses import JSONResponse, NoContentResponse
from app.text import quote


def list_metadata(tenant_id: str, image_id: str) -> Response:
    """Answer with all items of an image."""
    return catalog_response({"metadata": image_metadata(catalog.get(tenant_id, image_id))})


def update_metadata(tenant_id: str, image_id: str, body: JsonObject) -> Response:
    """Add items to an image or change them, and answer with all that it has then."""
    items: Metadata = body["metadata"]
    return JSONResponse({"metadata": _edit(tenant_id, image_id, lambda before: before | items)})


def replace_metadata(tenant_id: str, image_id: str, body: JsonObject) -> Response:
    """Give an image these items and no others."""
    items: Metadata = body["metadata"]
    return JSONResponse({"metadata": _edit(tenant_id, image_id, lambda _: items)})


def show_metadata_item(tenant_id: str, image_id: str, key: str) -> Response:
    """Answer with one item of an image."""
    return catalog_response({"meta": _only(key, image_metadata(catalog.get(tenant_id, image_id)))})


def set_metadata_item(tenant_id: str, image_id: str, key: str, body: JsonObject) -> Response:
    """Add an item to an image or change it."""
    item: Metadata = body["meta"]
    if key not in item:
        raise InvalidBody(f"the path names the item {quote(key)}, the body another")
    _edit(tenant_id, image_id, lambda before: before | item)
    return JSONResponse({"meta": item})


def delete_metadata_item(tenant_id: str, image_id: str, key: str) -> Response:
    """Take an item from an image."""

    def without(before: Metadata) -> Metadata:
        gone = _only(key, before)
        return {name: value for name, value in before.items() if name not in gone}

    _edit(tenant_id, image_id, without)
    return NoContentResponse()


def _edit(tenant_id: str, image_id: str, edit: Callable[[Metadata], Metadata]) -> Metadata:
    return editor.edit_metadata(tenant_id, image_id, edit, is_admin=current_caller().is_admin)


def _only(key: str, metadata: Metadata) -> Metadata:
    """Give the one item of the key. Raises ItemNotFound."""
    if key not in metadata:
        raise MetadataItemNotFound(key)
    return {key: metadata[key]}
