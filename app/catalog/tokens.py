"""The catalog's own tokens. Only a hash of a token's secret is stored."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable

from app.catalog.engine import COMMAND_TIMEOUT, Engine
from app.catalog.models import Token
from app.errors import DomainError, TokenNotFound
from app.text import normalize_project_id
from app.timestamps import SYSTEM_CLOCK, Clock

# The id identifies a token and is not confidential; the secret authenticates it. A fast hash suffices, because nobody
# can guess 256 random bits.
_ID_BYTES, _SECRET_BYTES = 4, 32
_ID, _SECRET = f"([0-9a-f]{{{2 * _ID_BYTES}}})", f"([0-9a-f]{{{2 * _SECRET_BYTES}}})"
_TOKEN_PATTERN = re.compile(f"images_{_ID}_{_SECRET}")
_TOKEN_OR_ID_PATTERN = re.compile(f"(?:images_)?{_ID}(?:_{_SECRET})?")


class InvalidToken(DomainError):
    """An argument is neither a token nor the id of one. The message does not repeat it: it may contain a secret."""

    def __init__(self, position: int) -> None:
        super().__init__(
            f"Argument {position} is not a token: expected the id that `token list` shows (8 hexadecimal digits), or "
            "the whole token (images_..., as `token add` printed it)."
        )


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
        return list(snapshot.tokens())


def revoke_tokens(engine: Engine, tokens: Iterable[str]) -> None:
    """Remove all of these tokens, each given by its id or as a whole; or none, if the catalog lacks one.

    Raises InvalidToken, TokenNotFound, and what a transaction raises.
    """
    parsed = [_parse(text, position) for position, text in enumerate(tokens, 1)]
    with engine.open_snapshot():  # a transaction would create a missing catalog
        pass
    with engine.transaction(timeout=COMMAND_TIMEOUT) as transaction:
        for token_id, secret in parsed:
            stored = transaction.find_token(token_id)
            if stored is None or (secret and not _is_secret(secret, stored[1])):
                raise TokenNotFound(token_id, with_secret=secret is not None)
        for token_id, _ in parsed:
            transaction.delete_token(token_id)


def find_token(engine: Engine, text: str) -> Token | None:
    """Return the token with this text, expired or not; None if there is none. Raises CatalogUnavailable."""
    match = _TOKEN_PATTERN.fullmatch(text)
    if not match:
        return None
    with engine.snapshot(is_single=True) as snapshot:
        found = snapshot.find_token(match[1])
    return found[0] if found and _is_secret(match[2], found[1]) else None


def _parse(text: str, position: int) -> tuple[str, str | None]:
    """Return the id of a token, and its secret unless the text is an id only. Raises InvalidToken."""
    match = _TOKEN_OR_ID_PATTERN.fullmatch(text)
    if not match:
        raise InvalidToken(position)
    return match[1], match[2]


def _is_secret(secret: str, stored_hash: bytes) -> bool:
    return hmac.compare_digest(stored_hash, _hash(secret))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
