"""The catalog's own tokens, of which only a hash is stored."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from app.catalog.engine import Engine, SchemaState
from app.catalog.errors import CatalogMissing
from app.catalog.models import Token
from app.catalog.tokens import add_token, find_token, list_tokens, revoke_tokens
from app.errors import TokenNotFound
from tests.support.catalogs import execute
from tests.support.clock import FakeClock
from tests.support.projects import PROJECT, SAMPLE_PROJECT


def add(engine: Engine) -> str:
    return add_token(engine, PROJECT, is_admin=False, expires=None)


def id_of(text: str) -> str:
    return text.split("_")[1]


def test_token_is_found_by_its_text(engine: Engine, clock: FakeClock) -> None:
    text = add_token(engine, PROJECT.upper(), is_admin=False, expires=None, clock=clock)
    assert re.fullmatch("images_[0-9a-f]{8}_[0-9a-f]{64}", text)
    admin = add_token(engine, SAMPLE_PROJECT, is_admin=True, expires="2001-01-01T00:00:00Z", clock=clock)
    assert find_token(engine, text) == Token(id_of(text), PROJECT, False, clock.now(), None)
    assert find_token(engine, admin) == Token(id_of(admin), SAMPLE_PROJECT, True, clock.now(), "2001-01-01T00:00:00Z")


def test_catalog_stores_no_secret(engine: Engine, location: str, tmp_path: Path) -> None:
    secret = add(engine).rpartition("_")[2]
    if location.startswith("postgresql:"):
        stored = str(execute(location, "SELECT tokens::text FROM tokens")).encode()
    else:
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert stored
    assert secret.encode() not in stored
    assert bytes.fromhex(secret) not in stored


@pytest.mark.parametrize(
    "change", [str.upper, lambda text: text + "0", lambda text: text[:-1], lambda text: f"{text}\n", lambda _: "x"]
)
def test_other_texts_are_not_tokens(engine: Engine, change: Callable[[str], str]) -> None:
    assert find_token(engine, change(add(engine))) is None


def test_secret_of_another_token_is_rejected(engine: Engine) -> None:
    first, second = (add(engine).split("_") for _ in range(2))
    assert find_token(engine, "_".join([*first[:2], second[2]])) is None


def test_tokens_are_listed_by_age(engine: Engine, clock: FakeClock) -> None:
    texts = []
    for _ in range(3):
        texts.append(add_token(engine, PROJECT, is_admin=False, expires=None, clock=clock))
        clock.advance()
    assert [token.id for token in list_tokens(engine)] == [id_of(text) for text in texts]


def test_revoked_token_is_not_found(engine: Engine) -> None:
    text, other = add(engine), add(engine)
    revoke_tokens(engine, [id_of(text)])
    assert find_token(engine, text) is None
    assert find_token(engine, other)


def test_tokens_are_revoked_all_or_none(engine: Engine) -> None:
    text = add(engine)
    with pytest.raises(TokenNotFound, match="'00000000'"):
        revoke_tokens(engine, [id_of(text), "00000000"])
    assert find_token(engine, text)


def test_whole_token_is_revoked_if_its_secret_is_right(engine: Engine) -> None:
    text = add(engine)
    forged = text[:-1] + ("0" if text[-1] != "0" else "1")
    with pytest.raises(TokenNotFound, match=f"^There is no token '{id_of(text)}' with this secret[.]$"):
        revoke_tokens(engine, [id_of(text), forged])
    assert find_token(engine, text)
    revoke_tokens(engine, [text, id_of(text)])
    assert list_tokens(engine) == []


def test_revoking_does_not_create_a_catalog(engine: Engine) -> None:
    with pytest.raises(CatalogMissing):
        revoke_tokens(engine, ["00000000"])
    assert engine.schema_state() is SchemaState.EMPTY
