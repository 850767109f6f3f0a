"""Reads of the catalog for the API."""

from app.catalog.engine import Engine, Snapshot
from app.catalog.errors import CatalogDamaged
from app.catalog.image_parts import ImageParts, Page, PartStore
from app.catalog.listing import is_planned_without_reads, plan_scans
from app.catalog.models import Image, ImageFilters, StoredImage, SyncStatus, Upstream
from app.errors import ImageNotFound
from app.text import normalize_project_id


class CatalogReader:
    """Reads for requests, each from one state of the catalog. Each raises what `Engine.snapshot` raises."""

    def __init__(self, engine: Engine, *, probe_limit: int | None = None) -> None:
        self._engine = engine
        self._probe_limit = probe_limit
        self._damage: CatalogDamaged | None = None

    def list_images(self, project_id: str, filters: ImageFilters, store: PartStore, *, max_images: int) -> Page:
        """Return a page of the images that a project can see, newest first. Parts that are not stored are built.

        Raises InvalidParameter if the marker is not the id of an image that the project can see.
        """
        size = min(filters.limit or max_images, max_images)
        if self._engine.blocks and is_planned_without_reads(filters):
            # A single query needs no transaction on a database server. It suffices if all parts are stored.
            with self._engine.snapshot(is_single=True) as snapshot:
                found, has_more, _ = self._find(snapshot, project_id, filters, store, size)
            if all(found.values()):
                return Page(list(filter(None, found.values())), has_more)
        with self._engine.snapshot() as snapshot:
            found, has_more, stored = self._find(snapshot, project_id, filters, store, size)
            images: dict[int, Image] = {}
            try:
                for batch in snapshot.read_images([sequence for sequence, part in found.items() if part is None]):
                    images |= batch
            finally:  # even if a limit is exceeded, so that later requests have fewer images to read
                if images:
                    found |= stored.add(images)
        return Page(list(filter(None, found.values())), has_more)

    def _find(
        self, snapshot: Snapshot, project_id: str, filters: ImageFilters, store: PartStore, size: int
    ) -> tuple[dict[int, bytes | None], bool, ImageParts]:
        """Return the stored parts of a page, whether more images follow, and the parts of the version that was read."""
        scans = plan_scans(snapshot, project_id, filters, size + 1, probe_limit=self._probe_limit)
        version, sequences = snapshot.find_page(scans, size + 1)
        stored = store.at(version)
        return stored.find(sequences[:size]), len(sequences) > size, stored

    def get_image(self, project_id: str, image_id: str) -> StoredImage:
        """Return an image that a project can see, which includes unlisted community images. Raises ImageNotFound."""
        with self._engine.snapshot(is_single=True) as snapshot:
            image = snapshot.find_image(normalize_project_id(project_id), image_id)
        if image is None:
            raise ImageNotFound
        return image

    def upstream(self) -> Upstream | None:
        """Return the image service that the catalog replicates; None if it is not a replica."""
        with self._engine.snapshot() as snapshot:
            return snapshot.upstream()

    def ping(self) -> None:
        """Raise what `Snapshot.ping` raises, or the damage that a response has shown."""
        if self._damage:
            raise self._damage
        with self._engine.snapshot() as snapshot:
            snapshot.ping()

    def report_damage(self, error: CatalogDamaged) -> None:
        """Let all later pings fail until the catalog changes: a response has shown that it is damaged."""
        self._damage = error

    def clear_damage(self) -> None:
        """Let pings succeed again: the catalog has changed, and may have been repaired."""
        self._damage = None

    def sync_status(self) -> SyncStatus:
        """Return the status of the mirror's syncs."""
        return self._engine.read_sync_status()
