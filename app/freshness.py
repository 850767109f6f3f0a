"""How old a copy is: what the mirror says of its passes, in a file beside the catalog."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from app.catalog import Catalog, Version
from app.catalog.file import as_unavailable
from app.faults import CatalogUnavailable
from app.schemas import compile_schema

_FOR_EVER = float("inf")
_TIME = {"type": "number", "nullable": True, "minimum": 0}
_TEXT = {"type": "string", "nullable": True}


@dataclass(frozen=True)
class Passes:
    """What is known of the passes over an image service. Times are seconds since 1970."""

    good: float | None = None  # when the last one began that brought the catalog to what it found
    whole: float | None = None  # when the last of these began that went over all images
    since: str | None = None  # from which time of change on the next one has to ask
    images: int = 0  # how many the last whole one found
    failed: tuple[str, ...] = ()  # ids of images that could not be copied, and are to be asked for again
    error: str | None = None  # what stopped the last one, if anything did


_WRITTEN = compile_schema(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["good", "whole", "since", "images", "failed", "error"],
        "properties": {
            "good": _TIME,
            "whole": _TIME,
            "since": _TEXT,
            "images": {"type": "integer", "minimum": 0},
            "failed": {"type": "array", "items": {"type": "string"}},
            "error": _TEXT,
        },
    }
)


def passes_of(catalog: Path) -> Passes:
    """Read what is known of the passes: nothing, where the file is missing or no longer what was written."""
    try:
        known = orjson.loads(beside(catalog, "mirror").read_bytes())
    except (OSError, ValueError):
        return Passes()
    return Passes(**known | {"failed": tuple(known["failed"])}) if _WRITTEN.is_valid(known) else Passes()


def tell(catalog: Path, passes: Passes) -> None:
    """Write what is known of the passes. Readers see it whole, or what was there before. Raises CatalogUnavailable."""
    file = beside(catalog, "mirror")
    new = file.with_name(f"{file.name}.new")
    with as_unavailable(file):
        new.write_bytes(orjson.dumps(asdict(passes)))
        new.replace(file)


class Freshness:
    """Tells whether answers can be given from a catalog as they are, or have to say how old the copy is."""

    def __init__(self, catalog: Catalog, stale_after: int) -> None:
        """Take the seconds after which a copy is stale; with 0, none ever is."""
        self._catalog = catalog
        self._stale_after = stale_after or _FOR_EVER
        self._version: Version | None = None
        self._until = 0.0

    def holds(self, version: Version | None) -> bool:
        """Tell whether the catalog, in this version of it, can be read, and is fresh or no copy."""
        if version != self._version or time.time() >= self._until:
            self._version = version
            try:
                self._until = self.since() + self._stale_after
            except CatalogUnavailable:
                self._until = 0.0
        return time.time() < self._until

    def since(self) -> float:
        """Give when the last good pass began that is known of, in seconds since 1970. Raises CatalogUnavailable.

        The mirror knows best; but what it wrote last may be lost.
        """
        upstream = self._catalog.upstream()
        if upstream is None:
            return _FOR_EVER
        good = passes_of(self._catalog.path).good
        return upstream.good if good is None else good


def beside(catalog: Path, name: str) -> Path:
    """Give the path of a file beside a catalog, which has one and no more, by whatever name it is reached."""
    file = catalog.resolve()
    return file.with_name(f"{file.name}.{name}")
