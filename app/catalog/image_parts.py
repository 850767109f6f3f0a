"""Image parts: the JSON of images in lists, built and validated once for each version of the catalog.

Joining a list of a thousand images takes a quarter of the CPU time of reading, serializing and validating them. Parts
contain placeholders for the URLs in links, so they do not depend on the project or the host.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import NamedTuple

from app.catalog.models import Image, Version

_BATCH_SIZE = 100  # images that are validated and serialized at once, while no other thread can run
_PART_OVERHEAD_BYTES = 200  # approximate memory of a part in addition to its JSON

BuildParts = Callable[[Sequence[Image]], Sequence[bytes]]


class ImageParts:
    """The parts of one version of the catalog, by sequence number. They are safe to use from several threads."""

    def __init__(self, version: Version | None, build: BuildParts, max_bytes: int) -> None:
        """Set the function that builds parts, and the bound on their memory. The oldest parts are evicted first."""
        self.version = version
        self.bytes = 0
        self._build = build
        self._max_bytes = max_bytes
        self._parts: OrderedDict[int, bytes] = OrderedDict()
        self._lock = Lock()

    def find(self, sequences: Sequence[int]) -> list[bytes | None]:
        """Return the part of each image, or None if it is not stored."""
        return list(map(self._parts.get, sequences))

    def add(self, images: Mapping[int, Image]) -> dict[int, bytes]:
        """Build, store and return the parts of images. Errors of building them are passed on."""
        built: dict[int, bytes] = {}
        waiting = iter(images.items())
        while batch := dict(islice(waiting, _BATCH_SIZE)):
            built |= zip(batch, self._build(list(batch.values())), strict=True)
        with self._lock:
            for sequence, part in built.items():
                self._store(sequence, part)
        return built

    def _store(self, sequence: int, part: bytes) -> None:
        size = self.bytes
        if sequence not in self._parts:
            self._parts[sequence] = part
            size += len(part) + _PART_OVERHEAD_BYTES
        while size > self._max_bytes:
            _, evicted = self._parts.popitem(last=False)
            size -= len(evicted) + _PART_OVERHEAD_BYTES
        self.bytes = size  # once: other threads read it without the lock


class PartStore:
    """Stores the parts of one version of the catalog: the one that was read last."""

    def __init__(self, build: BuildParts, max_bytes: int) -> None:
        """Set the function that builds parts, and the bound on their memory."""
        self._build = build
        self._max_bytes = max_bytes
        self._parts = self._empty(None)

    @property
    def bytes(self) -> int:
        """The memory of the parts."""
        return self._parts.bytes

    def at(self, version: Version | None) -> ImageParts:
        """Return the parts of a version, and drop those of other versions. Parts without a version are not stored."""
        if version is None:
            return self._empty(version)
        parts = self._parts
        if parts.version != version:
            parts = self._parts = self._empty(version)
        return parts

    def _empty(self, version: Version | None) -> ImageParts:
        return ImageParts(version, self._build, self._max_bytes)


class Page(NamedTuple):
    """A page of the list: the parts of its images, and whether more images follow."""

    parts: list[bytes]
    has_more: bool
