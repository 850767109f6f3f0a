"""The status of the mirror's syncs."""

from dataclasses import asdict
from pathlib import Path

import orjson

from app.catalog.models import SyncStatus
from app.catalog.sqlite.database import translate_errors
from app.contract.schemas import compile_schema

_TIME = {"type": "number", "nullable": True, "minimum": 0}
_TEXT = {"type": "string", "nullable": True}


_STATUS_SCHEMA = compile_schema(
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


def read_sync_status(catalog: Path) -> SyncStatus:
    """Read what is known of the passes: nothing, where the file is missing or no longer what was written."""
    try:
        known = orjson.loads(sidecar_path(catalog, "mirror").read_bytes())
    except (OSError, ValueError):
        return SyncStatus()
    return SyncStatus(**known | {"failed": tuple(known["failed"])}) if _STATUS_SCHEMA.is_valid(known) else SyncStatus()


def write_sync_status(catalog: Path, passes: SyncStatus) -> None:
    """Write what is known of the passes. Readers see it whole, or what was there before. Raises CatalogUnavailable."""
    file = sidecar_path(catalog, "mirror")
    new = file.with_name(f"{file.name}.new")
    with translate_errors(file):
        new.write_bytes(orjson.dumps(asdict(passes)))
        new.replace(file)


def sidecar_path(catalog: Path, name: str) -> Path:
    """Give the path of a file beside a catalog, which has one and no more, by whatever name it is reached."""
    file = catalog.resolve()
    return file.with_name(f"{file.name}.{name}")
