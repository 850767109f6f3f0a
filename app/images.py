"""The operations on images: one function for each operationId of the contract, the same name in Python's spelling."""

from typing import Any

from flask import Response, request

from app import views
from app.bridge import Nothing
from app.catalog import Query
from app.current import answer, caller, catalog, changes, links_of, settings


def list_images(tenant_id: str, **query: Any) -> Response:
    """Answer with a page of the images that the tenant can see, in brief."""
    return _page(views.image_summary, tenant_id, query)


def list_images_details(tenant_id: str, **query: Any) -> Response:
    """Answer with a page of the images that the tenant can see, in detail."""
    return _page(views.image_details, tenant_id, query)


def show_image(tenant_id: str, image_id: str) -> Response:
    """Answer with an image that the tenant can see, in detail."""
    return answer({"image": views.image_details(catalog.get(tenant_id, image_id), links_of(tenant_id))})


show_bookmarked_image = show_image


def delete_image(tenant_id: str, image_id: str) -> Response:
    """Delete an image of the tenant."""
    changes.delete(tenant_id, image_id, is_admin=caller().is_admin)
    return Nothing()


def _page(view: views.ImageView, tenant_id: str, query: dict[str, Any]) -> Response:
    page = catalog.find(tenant_id, Query(**query), at_most=settings.max_limit)
    return answer(views.image_list(page, view, links_of(tenant_id), request.path, request.query_string))
