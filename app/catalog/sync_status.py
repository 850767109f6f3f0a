"""The document in which an engine stores the status of the mirror's syncs."""

from dataclasses import asdict

import orjson

from app.catalog.models import SyncStatus, SyncTotal
from app.contract.schemas import compile_schema

_TIME = {"type": "number", "nullable": True, "minimum": 0}
_TEXT = {"type": "string", "nullable": True}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}  # by image id
_PROPERTIES = {
    "synced_at": _TIME,
    "full_synced_at": _TIME,
    "changes_since": _TEXT,
    "images": {"type": "integer", "minimum": 0},
    "failed": _TEXTS,
    "incomplete": _TEXTS,
    "error": _TEXT,
    "upstream_ids": _TEXTS,
}
_TOTAL = {
    "type": "object",
    "additionalProperties": False,
    "required": ["count", "seconds"],
    "properties": {"count": {"type": "integer", "minimum": 0}, "seconds": {"type": "number", "minimum": 0}},
}
_TOTALS = {"totals": {"type": "object", "additionalProperties": _TOTAL}}  # earlier versions did not store them
_SCHEMA = compile_schema(
    {
        "type": "object",
        "additionalProperties": False,
        "required": list(_PROPERTIES),
        "properties": _PROPERTIES | _TOTALS,
    }
)


def parse_sync_status(text: bytes | str) -> SyncStatus:
    """Return the status that a JSON text contains; an empty one if the text is damaged, or of an earlier version."""
    try:
        stored = orjson.loads(text)
    except ValueError:
        return SyncStatus()
    if not _SCHEMA.is_valid(stored):
        return SyncStatus()
    totals = {result: SyncTotal(**total) for result, total in stored.pop("totals", {}).items()}
    return SyncStatus(**stored, totals=totals)


def dump_sync_status(status: SyncStatus) -> bytes:
    """Return the JSON text of a status."""
    return orjson.dumps(asdict(status))
