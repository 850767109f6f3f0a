"""The catalog's data types."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

JsonObject = dict[str, Any]

Metadata = dict[str, str | None]


class Image(NamedTuple):
    """An image as the catalog holds it. The metadata is JSON."""

    id: str
    name: str | None
    status: str
    progress: int
    created: str
    updated: str
    min_disk: int
    min_ram: int
    size: int | None
    metadata: str
    server: str | None


Version = int


class Page(NamedTuple):
    """Some images in the order of the answer, and whether more follow."""

    images: list[Image]
    more: bool


@dataclass(frozen=True)
class ImageFilters:
    """What is asked for: the query parameters of the contract, under the names that Connexion gives them."""

    changes_since: str | None = None
    server: str | None = None
    name: str | None = None
    status: str | None = None
    type_: str | None = None
    min_ram: int | None = None
    min_disk: int | None = None
    limit: int = 0
    marker: str | None = None


class StoredImage(NamedTuple):
    """All that the catalog keeps of an image. The metadata and the members are JSON, in the form of `as_json`."""

    id: str
    name: str | None
    status: str
    progress: int
    created: str
    updated: str
    min_disk: int
    min_ram: int
    size: int | None
    metadata: str
    owner: str | None
    visibility: str
    members: str


class SyncMark(NamedTuple):
    """When a copy learned something: in seconds since 1970, and in its own count; both None in other catalogs."""

    seconds: int | None = None
    turn: int | None = None


def dump_json(value: object) -> str:
    """Write JSON in one form, so that what is equal is the same text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


class Token(NamedTuple):
    """What is known of a token. One without an end holds until it is revoked."""

    id: str
    tenant: str
    is_admin: bool
    created: str
    expires: str | None


class Upstream(NamedTuple):
    """An image service: its URL, whether it is seen as administrators see it, and how far a copy of it is.

    `good` is when the last pass began that found something new, in seconds since 1970; `turn` counts what was learned.
    """

    url: str
    is_admin: bool
    good: float = 0
    turn: int = 0

    def __str__(self) -> str:
        return f"{self.url}, as administrators see it" if self.is_admin else self.url


class ImageFailure(NamedTuple):
    """What happened instead of an image being copied; and who owns and sees it now, where so much is known."""

    what: str
    audience: tuple[str | None, str] | None = None


@dataclass(frozen=True)
class UpstreamSnapshot:
    """What a pass found: images, why others could not be copied, and which are not there.

    `gone` is None where that is all that the pass did not meet. It knows nothing of what was learned after the turn.
    """

    upstream: Upstream
    images: Sequence[StoredImage]
    failed: Mapping[str, ImageFailure] = field(default_factory=dict)
    gone: Collection[str] | None = ()


class SyncCounts(NamedTuple):
    """What a pass did to the catalog, in images."""

    new: int
    changed: int
    deleted: int


class ImportResult(NamedTuple):
    """What loading did to the catalog, in images."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    pruned: int = 0


@dataclass(frozen=True)
class SyncStatus:
    """What is known of the passes over an image service. Times are seconds since 1970."""

    good: float | None = None  # when the last one began that brought the catalog to what it found
    whole: float | None = None  # when the last of these began that went over all images
    since: str | None = None  # from which time of change on the next one has to ask
    images: int = 0  # how many the last whole one found
    failed: tuple[str, ...] = ()  # ids of images that could not be copied, and are to be asked for again
    error: str | None = None  # what stopped the last one, if anything did
