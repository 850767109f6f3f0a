"""Reads of the catalog for the API."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.catalog.engine import Engine, Snapshot
from app.catalog.errors import CatalogDamaged
from app.catalog.image_parts import ImageParts, Page, PartStore
from app.catalog.listing import is_planned_without_reads, plan_scans
from app.catalog.models import Image, ImageFilters, StoredImage, Upstream
from app.errors import ImageNotFound
from app.text import normalize_project_id


class _Found(NamedTuple):
    """The images of a page with their stored parts, those without one, and all parts of the version that was read."""

    sequences: Sequence[int]
    stored_parts: Sequence[bytes | None]
    missing: Sequence[int]
    has_more: bool
    parts: ImageParts

    def page(self, built: Mapping[int, bytes]) -> Page:
        """Return the page, without index entries that have no image: only a damaged catalog has such entries."""
        return Page(list(filter(None, map(built.get, self.sequences, self.stored_parts))), self.has_more)


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
            page = self._list_without_transaction(project_id, filters, store, size)
            if page is not None:
                return page
        images: dict[int, Image] = {}
        built: dict[int, bytes] = {}
        try:
            with self._engine.snapshot() as snapshot:
                found = self._find(snapshot, project_id, filters, store, size)
                for batch in snapshot.read_images(found.missing, found.parts.version):
                    images |= batch
        finally:  # even if a limit is exceeded, so that later requests have fewer images to read
            if images:
                built = found.parts.add(images)
        return found.page(built)

    def _list_without_transaction(
        self, project_id: str, filters: ImageFilters, store: PartStore, size: int
    ) -> Page | None:
        """Return a page by one or two single queries, which need no transaction on a database server.

        Return None if the catalog changes in between. BEGIN and ROLLBACK would take as long as a query.
        """
        with self._engine.snapshot(is_single=True) as snapshot:
            found = self._find(snapshot, project_id, filters, store, size)
        built: dict[int, bytes] = {}
        if found.missing:
            with self._engine.snapshot(is_single=True) as snapshot:
                (images,) = snapshot.read_images(found.missing, found.parts.version)
            if len(images) < len(found.missing):
                return None
            built = found.parts.add(images)
        return found.page(built)

    def _find(
        self, snapshot: Snapshot, project_id: str, filters: ImageFilters, store: PartStore, size: int
    ) -> "_Found":
        """Find the images of a page, and their stored parts."""
        scans = plan_scans(snapshot, project_id, filters, size + 1, probe_limit=self._probe_limit)
        version, sequences = snapshot.find_page(scans, size + 1)
        has_more, sequences = len(sequences) > size, sequences[:size]
        parts = store.at(version)
        stored = parts.find(sequences)
        missing = [sequence for sequence, part in zip(sequences, stored, strict=True) if part is None]
        return _Found(sequences, stored, missing, has_more, parts)

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
