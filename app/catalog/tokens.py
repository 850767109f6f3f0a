"""Tokens of the catalog's own: who gives one is a tenant, or an administrator. Only a hash of each is kept."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.models import Token
from app.catalog.sqlite.database import open_current, transaction, translate_errors
from app.errors import TokenNotFound
from app.text import normalize_project_id
from app.timestamps import now

# The id finds the token, and may be shown; the secret proves it. With 256 random bits there is nothing to guess, so a
# plain hash is as good as a slow one.
_ID_BYTES, _SECRET_BYTES = 4, 32
_TEXT = re.compile(f"images_([0-9a-f]{{{2 * _ID_BYTES}}})_([0-9a-f]{{{2 * _SECRET_BYTES}}})")

_COLUMNS = ", ".join(Token._fields)
_ADD = f"INSERT INTO tokens ({_COLUMNS}, hash) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 ours
_ALL = f"SELECT {_COLUMNS} FROM tokens ORDER BY created, id"  # noqa: S608 ours
_ONE = f"SELECT {_COLUMNS}, hash FROM tokens WHERE id = ?"  # noqa: S608 ours


def add_token(path: Path, tenant: str, *, is_admin: bool, expires: str | None) -> str:
    """Make a token, and give it, which can be done only now. Raises what `writing` raises."""
    id_, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    token = Token(id_, normalize_project_id(tenant), is_admin, now(), expires)
    with transaction(path) as db:
        db.execute(_ADD, (*token, _hash(secret)))
    return f"images_{id_}_{secret}"


def list_tokens(path: Path) -> list[Token]:
    """Give all tokens, the oldest first. Raises CatalogUnavailable."""
    with closing(open_current(path)) as db, translate_errors(path):
        return [_token(row) for row in db.execute(_ALL).fetchall()]


def revoke_tokens(path: Path, ids: Iterable[str]) -> None:
    """End tokens, all or none. Raises NoSuchToken, and what `writing` raises; it makes no catalog."""
    open_current(path).close()
    with transaction(path) as db:
        for each in set(ids):
            if not db.execute("DELETE FROM tokens WHERE id = ?", [each]).rowcount:
                raise TokenNotFound(each)


def find_token(connection: sqlite3.Connection, text: str) -> Token | None:
    """Give the token that the text is, ended or not; None where it is none."""
    match = _TEXT.fullmatch(text)
    row = match and connection.execute(_ONE, [match[1]]).fetchone()
    if not match or not row or not hmac.compare_digest(row[-1], _hash(match[2])):
        return None
    return _token(row[:-1])


def _token(row: tuple[str, str, int, str, str | None]) -> Token:
    token = Token._make(row)
    return token._replace(is_admin=bool(token.is_admin))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
