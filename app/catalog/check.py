"""Checks a catalog, whichever engine stores it."""

from collections.abc import Iterator

from app.catalog.documents import validate_stored_image
from app.catalog.engine import Engine, SchemaState
from app.catalog.errors import CatalogDamaged, SchemaMismatch
from app.catalog.inspection import Finding
from app.catalog.transfer import export_images

RESTORE = 'restore a backup (README, "Backup and restore"); without one, fill a new catalog by import or mirror'
REBUILD = "export the catalog, move it away, and import the export into a new one"
_MAX_INVALID = 10  # images with a finding of their own; the others are counted


def check_catalog(engine: Engine) -> Iterator[Finding]:
    """Yield what is wrong with the catalog. Raises CatalogUnavailable if it cannot be opened."""
    try:
        yield from engine.check()
        if engine.schema_state() is SchemaState.CURRENT:
            with engine.open_snapshot() as snapshot:
                snapshot.ping()
                snapshot.tokens()
            yield from _invalid_images(engine)
    except (CatalogDamaged, SchemaMismatch) as error:
        yield Finding(str(error).removesuffix("."), RESTORE)


def compare_derived(name: str, missing: int, surplus: int) -> Iterator[Finding]:
    """Yield a finding if a table that is derived from the images lacks entries, or has surplus ones."""
    if missing or surplus:
        yield Finding(f"{name} lacks {missing} entries, and has {surplus} that belong to no image", REBUILD)


def _invalid_images(engine: Engine) -> Iterator[Finding]:
    """Yield the first images that no import could have written."""
    count = 0
    for image in export_images(engine, deleted=True):
        problem = validate_stored_image(image)
        if problem and (count := count + 1) <= _MAX_INVALID:
            yield Finding(f"image {image.id} is invalid: {problem}", "import it again, or delete it")
    if count > _MAX_INVALID:
        yield Finding(f"{count - _MAX_INVALID} more images are invalid", "import them again, or delete them")
