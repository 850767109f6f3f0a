"""The commands on tokens, and that of a token only a hash is kept."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import cli
from app.catalog.models import Token
from app.catalog.sqlite.database import open_reader
from app.catalog.tokens import add_token, find_token, list_tokens
from app.catalog.transfer import export_images
from app.timestamps import format_utc

ME = "11111111111111111111111111111111"

Run = Callable[..., Result]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def run(catalog: Path) -> Run:
    """Give a function that runs the command `token` on the test's own catalog."""

    def invoke(*arguments: str) -> Result:
        return CliRunner(env={"IMAGES_CATALOG": str(catalog)}).invoke(cli.main, ["token", *arguments])

    return invoke


def find(catalog: Path, text: str) -> Token | None:
    return find_token(open_reader(catalog).conn, text)


def test_a_token_is_shown_once_and_nothing_else_is(run: Run, catalog: Path) -> None:
    made = run("add", ME)
    assert re.fullmatch("images_[0-9a-f]{8}_[0-9a-f]{64}\n", made.stdout)
    assert (made.stderr, made.exit_code) == ("", 0)


def test_the_catalog_keeps_no_token(run: Run, catalog: Path) -> None:
    secret = run("add", ME).stdout.strip().rpartition("_")[2]
    kept = b"".join(path.read_bytes() for path in catalog.parent.iterdir())
    assert secret.encode() not in kept
    assert bytes.fromhex(secret) not in kept


def test_a_token_is_what_it_was_made_for(run: Run, catalog: Path) -> None:
    plain = find(catalog, run("add", ME.upper()).stdout.strip())
    admin = find(catalog, run("add", "openstack", "--admin", "--expires", "2999-01-01T01:00:00+01:00").stdout.strip())
    assert plain is not None
    assert admin is not None
    assert (plain.tenant, plain.is_admin, plain.expires) == (ME, False, None)
    assert (admin.tenant, admin.is_admin, admin.expires) == ("openstack", True, "2999-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "delay"), [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), ("30m", timedelta(minutes=30))]
)
def test_a_token_may_end_some_time_from_now(run: Run, catalog: Path, text: str, delay: timedelta) -> None:
    earliest = format_utc(datetime.now(UTC) + delay)
    run("add", ME, "--expires", text)
    (token,) = list_tokens(catalog)
    assert earliest <= str(token.expires) <= format_utc(datetime.now(UTC) + delay)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((ME, "--expires", "2001-01-01T00:00:00Z"), "'2001-01-01T00:00:00Z' is over"),
        ((ME, "--expires", "0d"), "'0d' is over"),
        ((ME, "--expires", "2030-01-01"), "'2030-01-01' is not like 90d, 12h, 30m or 2030-01-31T00:00:00Z"),
        ((ME, "--expires", "999999999d"), "'999999999d' is not like 90d, 12h, 30m or 2030-01-31T00:00:00Z"),
        (("me",), "'me' is not a UUID, with or without dashes, or the word openstack"),
    ],
)
def test_a_token_that_cannot_be_is_not_made(run: Run, catalog: Path, arguments: tuple[str, ...], problem: str) -> None:
    refused = run("add", *arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.splitlines()[-1].endswith(problem)
    assert not catalog.exists()


def test_the_first_token_makes_the_catalog_that_serve_would(run: Run, catalog: Path) -> None:
    run("add", ME)
    assert len(list(export_images(catalog))) == 7


def test_tokens_are_listed_by_their_ids(run: Run, catalog: Path) -> None:
    texts = [add_token(catalog, ME, is_admin=True, expires=None)]
    texts.append(add_token(catalog, "openstack", is_admin=False, expires="2001-01-01T00:00:00Z"))
    ids = [text.split("_")[1] for text in texts]
    made = {token.id: token.created for token in list_tokens(catalog)}
    assert sorted(run("list").stdout.splitlines()) == sorted(
        [
            f"{ids[0]}  {ME}  admin  {made[ids[0]]}  never",
            f"{ids[1]}  openstack{' ' * 23}  -      {made[ids[1]]}  2001-01-01T00:00:00Z (over)",
        ]
    )


def test_a_revoked_token_is_none(run: Run, catalog: Path) -> None:
    text = run("add", ME).stdout.strip()
    other = run("add", ME).stdout.strip()
    assert run("revoke", text.split("_")[1]).exit_code == 0
    assert find(catalog, text) is None
    assert find(catalog, other) is not None


def test_all_of_some_tokens_are_revoked_or_none_is(run: Run, catalog: Path) -> None:
    known = run("add", ME).stdout.split("_")[1]
    refused = run("revoke", known, "00000000")
    assert (refused.exit_code, refused.stderr) == (1, "Error: There is no token '00000000'.\n")
    assert [token.id for token in list_tokens(catalog)] == [known]


def test_tokens_of_a_catalog_that_is_not_there_are_not_listed(run: Run, catalog: Path) -> None:
    refused = run("list")
    assert (refused.exit_code, refused.stderr) == (1, f"Error: {catalog} holds no catalog yet\n")


@pytest.mark.parametrize(
    "change", [str.upper, lambda text: text + "0", lambda text: text[:-1], lambda text: f"{text}\n"]
)
def test_what_is_nearly_a_token_is_none(run: Run, catalog: Path, change: Callable[[str], str]) -> None:
    text = run("add", ME).stdout.strip()
    assert find(catalog, change(text)) is None


def test_revoking_makes_no_catalog(run: Run, catalog: Path) -> None:
    refused = run("revoke", "00000000")
    assert (refused.exit_code, refused.stderr) == (1, f"Error: {catalog} holds no catalog yet\n")
    assert not catalog.exists()


def test_the_secret_of_another_token_is_none(run: Run, catalog: Path) -> None:
    first, second = (run("add", ME).stdout.strip().split("_") for _ in range(2))
    assert find(catalog, "_".join([*first[:2], second[2]])) is None
