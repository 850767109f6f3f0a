"""Rows of the tables, with their types. A damaged file may yield values that no catalog holds, without any error."""

from types import NoneType
from typing import Any

import orjson

from app.catalog.models import StoredImage, Token, Upstream

_TEXT_OR_NULL = (str, NoneType)
_IMAGE_TYPES = (
    *(str, _TEXT_OR_NULL, str, int, str, str, int, int, (int, NoneType), str),
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


def to_token(row: tuple[Any, ...]) -> Token:
    """Build a token, without its hash. Raises DamagedValue."""
    token = Token._make(require_types(row, (str, str, int, str, _TEXT_OR_NULL)))
    return token._replace(is_admin=bool(token.is_admin))


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
