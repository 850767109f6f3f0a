"""The catalog's own tokens. Only a hash of a token's secret is stored."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable

from app.catalog.engine import COMMAND_TIMEOUT, Engine
from app.catalog.models import Token
from app.errors import TokenNotFound
from app.text import normalize_project_id
from app.timestamps import SYSTEM_CLOCK, Clock

# The id identifies a token and is not confidential; the secret authenticates it. A fast hash suffices, because nobody
# can guess 256 random bits.
_ID_BYTES, _SECRET_BYTES = 4, 32
_TOKEN_PATTERN = re.compile(f"images_([0-9a-f]{{{2 * _ID_BYTES}}})_([0-9a-f]{{{2 * _SECRET_BYTES}}})")


def add_token(
    engine: Engine, project_id: str, *, is_admin: bool, expires: str | None, clock: Clock = SYSTEM_CLOCK
) -> str:
    """Create a token and return its text, which cannot be retrieved later. Raises what a transaction raises."""
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    token = Token(token_id, normalize_project_id(project_id), is_admin, clock.now(), expires)
    with engine.transaction(timeout=COMMAND_TIMEOUT) as transaction:
        transaction.add_token(token, _hash(secret))
    return f"images_{token_id}_{secret}"


def list_tokens(engine: Engine) -> list[Token]:
    """Return all tokens, the oldest first. Raises CatalogUnavailable."""
    with engine.open_snapshot() as snapshot:
        return snapshot.tokens()


def revoke_tokens(engine: Engine, ids: Iterable[str]) -> None:
    """Remove all of these tokens or, if one is unknown, none. Raises TokenNotFound, and what a transaction raises."""
    with engine.open_snapshot():  # a transaction would create a missing catalog
        pass
    with engine.transaction(timeout=COMMAND_TIMEOUT) as transaction:
        for token_id in set(ids):
            if not transaction.delete_token(token_id):
                raise TokenNotFound(token_id)


def find_token(engine: Engine, text: str) -> Token | None:
    """Return the token with this text, expired or not; None if there is none. Raises CatalogUnavailable."""
    match = _TOKEN_PATTERN.fullmatch(text)
    if not match:
        return None
    with engine.snapshot() as snapshot:
        found = snapshot.find_token(match[1])
    if found is None or not hmac.compare_digest(found[1], _hash(match[2])):
        return None
    return found[0]


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
