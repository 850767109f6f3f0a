"""The data types of the catalog, whichever engine stores it."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from app.timestamps import Clock

JsonObject = dict[str, Any]
Metadata = dict[str, str | None]
Version = Hashable  # equal versions mean the same state of the catalog; versions have no order


def dump_json(value: object) -> str:
    """Serialize to canonical JSON: equal values yield equal text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


@dataclass(slots=True)  # frozen=True would triple the cost of an instance, and a page has up to a thousand
class Image:
    """The fields of an image that the API shows. The metadata is JSON text."""

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


@dataclass(slots=True)
class StoredImage(Image):
    """An image as the catalog stores it: with its owner, and with the projects that may see it.

    Members are JSON text: the projects that accepted a shared image, and those whose membership is pending or rejected.
    Lists omit the image for the latter, and omit a hidden image for everyone. Project ids are normalized.
    """

    owner: str | None
    visibility: str
    members: str
    pending_members: str
    hidden: bool


# By image id, the fields of StoredImage that an import does not state: they have defaults, for new images only.
Unstated = Mapping[str, frozenset[str]]
ALL_STATED: Unstated = {}


class ReplicatedImage(NamedTuple):
    """An image of a replica, the revision in which it was last written, and whether it is a tombstone.

    An image that is being deleted also has the status DELETED, but upstream still has it.
    """

    image: StoredImage
    revision: int
    is_tombstone: bool


@dataclass(frozen=True)
class ImageFilters:
    """The query parameters of the contract, under the names that Connexion gives them in Python."""

    changes_since: str | None = None
    server: str | None = None
    name: str | None = None
    status: str | None = None
    type_: str | None = None
    min_ram: int | None = None
    min_disk: int | None = None
    limit: int = 0
    marker: str | None = None


class FoundPage(NamedTuple):
    """The sequence numbers of images in the order of the list, and the version of the catalog that they were read from.

    The version is None if it cannot be compared with those of other reads.
    """

    version: Version | None
    sequences: Sequence[int]


class Token(NamedTuple):
    """A token, without its secret. One without an expiry is valid until it is revoked."""

    id: str
    project_id: str
    is_admin: bool
    created: str
    expires: str | None

    def is_expired(self, now: str) -> bool:
        """Return whether the token is no longer valid at a time (UTC)."""
        return self.expires is not None and self.expires <= now


class ImportResult(NamedTuple):
    """How many images an import added, changed, left as they were, and pruned."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    pruned: int = 0


class Upstream(NamedTuple):
    """The image service that a replica copies.

    `synced_at` is when the last sync that changed the catalog began (Unix time); `revision` counts the changes that
    came from upstream.
    """

    url: str
    is_admin: bool  # whether the replica holds what an administrator sees
    synced_at: float = 0
    revision: int = 0

    def __str__(self) -> str:
        return f"{self.url} as seen by an administrator" if self.is_admin else self.url


class SyncMark(NamedTuple):
    """When a replica wrote an image: Unix time in whole seconds, and the revision. Both are None outside replicas."""

    synced_at: int | None = None
    revision: int | None = None


class Record(NamedTuple):
    """An image or a tombstone, with everything that the catalog stores of it except its sequence number.

    `deleted_at` (UTC, such as 2011-01-01T01:02:03Z) is set only for tombstones that the service created.
    """

    image: StoredImage
    deleted_at: str | None
    mark: SyncMark


class ImageFailure(NamedTuple):
    """Why an image could not be copied, and its owner and visibility upstream if they are known."""

    reason: str
    access: tuple[str | None, str] | None = None


@dataclass(frozen=True)
class UpstreamSnapshot:
    """What a sync read from the image service: images, failures by image id, and the ids of deleted images.

    `deleted` is None after a full sync, in which every image that was not listed counts as deleted. `upstream.revision`
    is the revision of the replica when the sync began; images of later revisions are newer than the snapshot.
    """

    upstream: Upstream
    images: Sequence[StoredImage]
    failed: Mapping[str, ImageFailure] = field(default_factory=dict)
    deleted: Collection[str] | None = ()


class SyncCounts(NamedTuple):
    """How many images a sync added, changed and deleted."""

    new: int
    changed: int
    deleted: int


@dataclass(frozen=True)
class SyncTotal:
    """How many syncs ended with some result, and how long they took together."""

    count: int = 0
    seconds: float = 0

    def plus(self, seconds: float) -> "SyncTotal":
        """Return the total after another sync."""
        return SyncTotal(self.count + 1, self.seconds + seconds)


@dataclass(frozen=True)
class SyncStatus:
    """The state of the mirror between syncs. Times are Unix times."""

    synced_at: float | None = None  # when the last successful sync began
    full_synced_at: float | None = None  # when the last successful full sync began
    changes_since: str | None = None  # the next incremental sync lists the images changed since this time
    images: int = 0  # how many images the last full sync listed
    # Images that could not be copied, by id, and why; the next sync tries them again.
    failed: Mapping[str, str] = field(default_factory=dict)
    incomplete: Mapping[str, str] = field(default_factory=dict)  # images without a part that could not be copied
    error: str | None = None  # why the last sync failed; None if it succeeded
    upstream_ids: Mapping[str, str] = field(default_factory=dict)  # by image id: the id upstream, if it differs in case
    totals: Mapping[str, SyncTotal] = field(default_factory=dict)  # by result: "full", "incremental" or "failed"

    def upstream_id(self, image_id: str) -> str:
        """Return the id of an image in the case in which upstream has it."""
        return self.upstream_ids.get(image_id, image_id)

    def totals_after(self, result: str, seconds: float) -> dict[str, SyncTotal]:
        """Return the totals after another sync, with its result and duration."""
        return {**self.totals, result: self.totals.get(result, SyncTotal()).plus(seconds)}

    def last_success(self, upstream: Upstream) -> float:
        """Return when the last successful sync of a replica began (Unix time).

        This status is more recent than the catalog's record of the upstream, which only changes along with images; but
        the status may be lost.
        """
        return upstream.synced_at if self.synced_at is None else self.synced_at

    def age(self, upstream: Upstream, clock: Clock) -> float:
        """Return the age of a replica: the seconds since the last successful sync began."""
        return max(0.0, clock.time() - self.last_success(upstream))


class ImageCount(NamedTuple):
    """How many images, or tombstones, have a status and a visibility."""

    status: str
    visibility: str
    is_tombstone: bool
    images: int
