"""Operations on images. The name of each function is its operationId in the contract, in snake case."""

from typing import Any

from flask import Response

from app.api.context import catalog_response, services
from app.api.links import link_builder
from app.api.serializers import serialize_image
from app.catalog.models import ImageFilters
from app.context import current_request
from app.framework.responses import NoContentResponse


def list_images(tenant_id: str, **query: Any) -> Response:
    """Return a page of the images that the project can see: ids, names and links."""
    return _page(tenant_id, query)


def list_images_details(tenant_id: str, **query: Any) -> Response:
    """Return a page of the images that the project can see, with all details."""
    return _page(tenant_id, query)


def show_image(tenant_id: str, image_id: str) -> Response:
    """Return an image that the project can see, with all details."""
    image = services().catalog.get_image(tenant_id, image_id)
    return catalog_response({"image": serialize_image(image, link_builder(tenant_id))}, [image])


show_bookmarked_image = show_image


def delete_image(tenant_id: str, image_id: str) -> Response:
    """Delete an image that the project owns."""
    services().editor.delete(current_request.get(), tenant_id, image_id)
    return NoContentResponse()


def _page(tenant_id: str, query: dict[str, Any]) -> Response:
    service = services()
    images = service.image_lists[current_request.get().operation]
    page = service.catalog.list_images(tenant_id, _filters(query), images.store, max_images=service.settings.max_limit)
    body, document = images.join(page, link_builder(tenant_id))
    return catalog_response(document, body=body)


def _filters(query: dict[str, Any]) -> ImageFilters:
    """Return the filters of a valid query. An empty marker counts as none."""
    return ImageFilters(**query | {"marker": query.get("marker") or None})
