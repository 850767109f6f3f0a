"""Reads all images of the configured cloud's Glance, with their members."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from app.catalog.models import JsonObject
from app.errors import DomainError
from app.mirror.client import UpstreamError
from app.mirror.cloud import connect, load_cloud_config
from app.mirror.collector import PageProgress, list_images, read_members
from app.mirror.mapping import normalize_image_id, to_file_image


class GlanceReadFailed(DomainError):
    """The images of a Glance could not be read completely."""


class GlanceImages(NamedTuple):
    """The URL of a Glance, its images, and the members of those that are shared, with their statuses, by image id."""

    url: str
    images: list[Any]
    members: Mapping[str, Mapping[str, str] | None]

    def to_file_image(self, image: JsonObject) -> tuple[JsonObject, list[tuple[str, str]]]:
        """Return one of the images, with its members, as `mapping.to_file_image` does."""
        return to_file_image(image, self.members.get(normalize_image_id(image["id"])))


def read_images(*, progress: PageProgress = iter) -> GlanceImages:
    """Read all images that the credentials show, without those that are deleted meanwhile.

    `progress` wraps the pages to report how many are read. Raises CloudConfigError and GlanceReadFailed.
    """
    try:
        glance = connect(load_cloud_config())
        images = list_images(glance, progress=progress)
        members = read_members(glance, images)
    except UpstreamError as error:
        raise GlanceReadFailed(error.explanation) from error
    existing = [image for id_, image in images.items() if members.get(id_, {}) is not None]
    return GlanceImages(glance.url, existing, members)
