"""Image parts: the JSON of images in lists, built and validated once in a version of the catalog.

Joining a list of a thousand images takes a sixth of the CPU time of reading, serializing and validating them. Parts do
not depend on the project or on the host in links: placeholders stand for them.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import NamedTuple

from app.catalog.models import Image, Version

_PART_OVERHEAD_BYTES = 200  # approximate memory of a part in addition to its JSON


class ImageParts:
    """The parts of one version of the catalog, by sequence number. Several threads may use them."""

    def __init__(self, version: Version | None, max_bytes: int) -> None:
        """Set the bound on the memory of the parts: the oldest are evicted first."""
        self.version = version
        self.bytes = 0
        self._max_bytes = max_bytes
        self._parts: OrderedDict[int, bytes] = OrderedDict()
        self._lock = Lock()

    def find(self, sequences: Iterable[int]) -> list[bytes | None]:
        """Return the part of each image, None if it is not stored."""
        return list(map(self._parts.get, sequences))

    def add(self, parts: Mapping[int, bytes]) -> None:
        """Store parts."""
        with self._lock:
            for sequence, part in parts.items():
                if sequence not in self._parts:
                    self._parts[sequence] = part
                    self.bytes += len(part) + _PART_OVERHEAD_BYTES
            while self.bytes > self._max_bytes:
                _, part = self._parts.popitem(last=False)
                self.bytes -= len(part) + _PART_OVERHEAD_BYTES


class PartStore:
    """The parts of the version of the catalog that was read last."""

    def __init__(self, max_bytes: int) -> None:
        """Set the bound on the memory of the parts."""
        self._max_bytes = max_bytes
        self._parts = ImageParts(None, max_bytes)

    @property
    def bytes(self) -> int:
        """The memory of the parts."""
        return self._parts.bytes

    def at(self, version: Version | None) -> ImageParts:
        """Return the parts of a version, and drop those of another one. Without a version, none are stored."""
        parts = self._parts
        if version is None or parts.version != version:
            parts = ImageParts(version, self._max_bytes)
            if version is not None:
                self._parts = parts
        return parts


class Page(NamedTuple):
    """A page of the list: the parts of its images that were stored, the images without one, and whether more follow."""

    parts: Mapping[int, bytes | None]  # by sequence number, in the order of the list
    images: Mapping[int, Image]  # by sequence number
    has_more: bool
    stored: ImageParts  # of the version of the catalog that the page was read from
