"""Operations on images. The name of each function is its operationId in the contract, in snake case."""

from typing import Any

from flask import Response, request

from app.api import serializers
from app.api.context import catalog_response, request_context, services
from app.api.links import link_builder
from app.catalog.documents import first_invalid
from app.catalog.errors import CatalogDamaged
from app.catalog.models import ImageFilters
from app.framework.responses import NoContentResponse


def list_images(tenant_id: str, **query: Any) -> Response:
    """Return a page of the images that the project can see: ids, names and links."""
    return _page(serializers.serialize_image_summary, tenant_id, query)


def list_images_details(tenant_id: str, **query: Any) -> Response:
    """Return a page of the images that the project can see, with all details."""
    return _page(serializers.serialize_image, tenant_id, query)


def show_image(tenant_id: str, image_id: str) -> Response:
    """Return an image that the project can see, with all details."""
    image = services().catalog.get_image(tenant_id, image_id)
    return catalog_response({"image": serializers.serialize_image(image, link_builder(tenant_id))}, [image])


show_bookmarked_image = show_image


def delete_image(tenant_id: str, image_id: str) -> Response:
    """Delete an image that the project owns."""
    services().editor.delete(request_context(), tenant_id, image_id)
    return NoContentResponse()


def _page(serialize: serializers.ImageSerializer, tenant_id: str, query: dict[str, Any]) -> Response:
    service = services()
    page = service.catalog.list_images(tenant_id, _filters(query), max_images=service.settings.max_limit)
    links = link_builder(tenant_id)
    try:
        document = serializers.serialize_page(page, serialize, links, request.path, request.query_string)
        return catalog_response(document, page.images)
    except (AttributeError, TypeError, ValueError) as error:
        # The values of a page are not checked when they are read, because that takes time.
        problem = first_invalid(page.images)
        if problem is None:
            raise
        raise CatalogDamaged(problem) from error


def _filters(query: dict[str, Any]) -> ImageFilters:
    """Return the filters of a valid query. An empty marker counts as none."""
    return ImageFilters(**query | {"marker": query.get("marker") or None})
