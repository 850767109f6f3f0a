"""Short forms of what tests do with a catalog, whichever engine stores it."""

from app.catalog.engine import Engine
from app.catalog.models import ImageFilters, StoredImage
from app.catalog.reader import CatalogReader
from app.catalog.transfer import export_images, import_images
from tests.support.images import Fields, image_number, stored_images
from tests.support.projects import PROJECT


def add_images(engine: Engine, *images: Fields) -> Engine:
    """Import images, and return the engine."""
    import_images(engine, stored_images(*images), tombstone_days=30)
    return engine


def listed(engine: Engine, project_id: str = PROJECT, **filters: str | int) -> list[int]:
    """Return the numbers of the images in a project's list, in its order."""
    page = CatalogReader(engine).list_images(project_id, ImageFilters(**filters), max_images=1000)  # type: ignore[arg-type]
    return [image_number(image.id) for image in page.images]


def exported(engine: Engine) -> list[StoredImage]:
    """Return all images and tombstones, in the order in which they were added."""
    return list(export_images(engine, deleted=True))


def exported_numbers(engine: Engine) -> list[int]:
    """Return the numbers of all images and tombstones, in the order in which they were added."""
    return [image_number(image.id) for image in exported(engine)]
