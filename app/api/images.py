"""The operations on images: one function for each operationId of the contract, the same name in Python's spelling."""

from typing import Any

from flask import Response, request

from app.api import serializers
from app.api.context import catalog, catalog_response, current_caller, editor, settings
from app.api.links import link_builder
from app.catalog.models import ImageFilters
from app.framework.responses import NoContentResponse


def list_images(tenant_id: str, **query: Any) -> Response:
    """Answer with a page of the images that the tenant can see, in brief."""
    return _page(serializers.serialize_image_summary, tenant_id, query)


def list_images_details(tenant_id: str, **query: Any) -> Response:
    """Answer with a page of the images that the tenant can see, in detail."""
    return _page(serializers.serialize_image, tenant_id, query)


def show_image(tenant_id: str, image_id: str) -> Response:
    """Answer with an image that the tenant can see, in detail."""
    return catalog_response(
        {"image": serializers.serialize_image(catalog.get(tenant_id, image_id), link_builder(tenant_id))}
    )


show_bookmarked_image = show_image


def delete_image(tenant_id: str, image_id: str) -> Response:
    """Delete an image of the tenant."""
    editor.delete(tenant_id, image_id, is_admin=current_caller().is_admin)
    return NoContentResponse()


def _page(view: serializers.ImageSerializer, tenant_id: str, query: dict[str, Any]) -> Response:
    page = catalog.find(tenant_id, ImageFilters(**query), at_most=settings.max_limit)
    return catalog_response(
        serializers.serialize_page(page, view, link_builder(tenant_id), request.path, request.query_string)
    )
