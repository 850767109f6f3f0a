"""Rows of the tables, with their types. A damaged file may yield values that no catalog holds, without any error."""

from types import NoneType
from typing import Any

import orjson

from app.catalog.models import Record, StoredImage, SyncMark, Token, Upstream

_TEXT_OR_NULL, _INT_OR_NULL = (str, NoneType), (int, NoneType)
_IMAGE_TYPES = (
    *(str, _TEXT_OR_NULL, str, int, str, str, int, int, _INT_OR_NULL, str),
    *(_TEXT_OR_NULL, str, str, str, int),
)


class DamagedValue(Exception):
    """A value that the database file cannot hold unless it is damaged."""


def to_image(row: tuple[Any, ...]) -> StoredImage:
    """Build an image. Raises DamagedValue."""
    image = StoredImage(*require_types(row, _IMAGE_TYPES))
    _require_json(image, image.metadata, dict)
    _require_json(image, image.members, list)
    _require_json(image, image.pending_members, list)
    image.hidden = bool(image.hidden)
    return image


def to_record(row: tuple[Any, ...]) -> Record:
    """Build a record. Raises DamagedValue."""
    deleted_at, *mark = require_types(row[-3:], (_TEXT_OR_NULL, _INT_OR_NULL, _INT_OR_NULL))
    return Record(to_image(row[:-3]), deleted_at, SyncMark._make(mark))


def to_token_with_hash(row: tuple[Any, ...]) -> tuple[Token, bytes]:
    """Build a token, and the hash of its secret. Raises DamagedValue."""
    *fields, secret_hash = require_types(row, (str, str, int, str, _TEXT_OR_NULL, bytes))
    token = Token._make(fields)
    return token._replace(is_admin=bool(token.is_admin)), secret_hash


def to_upstream(row: tuple[Any, ...]) -> Upstream:
    """Build the upstream of a replica. Raises DamagedValue."""
    upstream = Upstream._make(require_types(row, (str, int, float, int)))
    return upstream._replace(is_admin=bool(upstream.is_admin))


def require_types(row: tuple[Any, ...], types: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row whose values have the types of its columns. Raises DamagedValue."""
    if not all(map(isinstance, row, types)):
        raise DamagedValue(f"a row has values of other types than its columns: {row!r:.200}")
    return row


def _require_json(image: StoredImage, text: str, type_: type) -> None:
    try:
        is_valid = isinstance(orjson.loads(text), type_)
    except ValueError:
        is_valid = False
    if not is_valid:
        raise DamagedValue(f"image {image.id} has metadata or members that are not valid JSON")
