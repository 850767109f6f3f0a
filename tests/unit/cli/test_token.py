"""The command `token`."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import cli
from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogMissing
from app.catalog.tokens import add_token, find_token, list_tokens
from app.catalog.transfer import export_images
from app.timestamps import format_utc
from tests.support.catalogs import is_missing
from tests.support.projects import PROJECT, SAMPLE_PROJECT

Run = Callable[..., Result]


@pytest.fixture
def engine(location: str) -> Engine:
    return open_catalog(location)


@pytest.fixture
def run(location: str) -> Run:

    def invoke(*arguments: str, **environ: str) -> Result:
        return CliRunner(env={"IMAGES_CATALOG": location} | environ).invoke(cli.main, ["token", *arguments])

    return invoke


def test_add_prints_the_token_only(run: Run) -> None:
    added = run("add", PROJECT)
    assert re.fullmatch("images_[0-9a-f]{8}_[0-9a-f]{64}\n", added.stdout)
    assert (added.stderr, added.exit_code) == ("", 0)


def test_add_takes_the_project_the_role_and_the_expiry(run: Run, engine: Engine) -> None:
    member = find_token(engine, run("add", PROJECT.upper()).stdout.strip())
    options = ("--admin", "--expires", "2999-01-01T01:00:00+01:00")
    admin = find_token(engine, run("add", SAMPLE_PROJECT, *options).stdout.strip())
    assert member
    assert admin
    assert (member.project_id, member.is_admin, member.expires) == (PROJECT, False, None)
    assert (admin.project_id, admin.is_admin, admin.expires) == (SAMPLE_PROJECT, True, "2999-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "delay"), [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), ("30m", timedelta(minutes=30))]
)
def test_expiry_can_be_a_duration(run: Run, engine: Engine, text: str, delay: timedelta) -> None:
    earliest = format_utc(datetime.now(UTC) + delay)
    run("add", PROJECT, "--expires", text)
    (token,) = list_tokens(engine)
    assert earliest <= str(token.expires) <= format_utc(datetime.now(UTC) + delay)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((PROJECT, "--expires", "2001-01-01T00:00:00Z"), "'2001-01-01T00:00:00Z' is in the past"),
        ((PROJECT, "--expires", "0d"), "'0d' is in the past"),
        *(
            ((PROJECT, "--expires", text), f"'{text}' is not a time such as 90d, 12h, 30m or 2030-01-31T00:00:00Z")
            for text in ("2030-01", "999999999d")
        ),
        (("m/e",), "characters without '/', '?', '#' and control characters, but not '.' or '..'"),
    ],
)
def test_invalid_arguments_are_usage_errors(run: Run, location: str, arguments: tuple[str, ...], problem: str) -> None:
    rejected = run("add", *arguments)
    assert (rejected.exit_code, rejected.stdout) == (2, "")
    assert rejected.stderr.splitlines()[-1].endswith(problem)
    assert is_missing(location)


def test_add_creates_a_missing_catalog_with_the_sample_at_the_default_location_only(
    run: Run, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [run("add", PROJECT, IMAGES_CATALOG=value).exit_code for value in ("", location)] == [0, 0]
    counts = [len(list(export_images(each))) for each in map(open_catalog, ("data/catalog.db", location))]
    assert counts == [7, 0]


def test_list_prints_a_line_for_each_token(run: Run, engine: Engine) -> None:
    add_token(engine, PROJECT, is_admin=True, expires=None)
    add_token(engine, SAMPLE_PROJECT, is_admin=False, expires="2001-01-01T00:00:00Z")
    created = {token.project_id: (token.id, token.created) for token in list_tokens(engine)}
    (admin_id, admin_created), (id_, id_created) = created[PROJECT], created[SAMPLE_PROJECT]
    assert sorted(run("list").stdout.splitlines()) == sorted(
        [
            f"{admin_id}  {PROJECT}  admin  {admin_created}  never",
            f"{id_}  openstack{' ' * 23}  -      {id_created}  2001-01-01T00:00:00Z (expired)",
        ]
    )


def test_revoke_removes_tokens(run: Run, engine: Engine) -> None:
    token_id = run("add", PROJECT).stdout.split("_")[1]
    rejected = run("revoke", token_id, "00000000")
    assert (rejected.exit_code, rejected.stderr) == (1, "Error: There is no token '00000000'.\n")
    assert [token.id for token in list_tokens(engine)] == [token_id]
    assert run("revoke", token_id).exit_code == 0
    assert list_tokens(engine) == []


@pytest.mark.parametrize("text", ["images_" + "5ec4e7" * 12, "5ec4e7" * 12, "IMAGES", "-5ec4e7", ""])
def test_revoke_repeats_nothing_that_may_be_a_secret(run: Run, text: str) -> None:
    run("add", PROJECT)
    rejected = run("revoke", "00000000", "--", text)
    assert rejected.exit_code == 1
    assert rejected.stderr == (
        "Error: Argument 2 is not a token: expected the id that `token list` shows (8 hexadecimal digits), or "
        "the whole token (images_..., as `token add` printed it).\n"
    )


@pytest.mark.parametrize("arguments", [("list",), ("revoke", "00000000")])
def test_missing_catalog_is_an_error(run: Run, engine: Engine, location: str, arguments: tuple[str, ...]) -> None:
    rejected = run(*arguments)
    assert (rejected.exit_code, rejected.stderr) == (1, f"Error: {CatalogMissing(engine.name)}\n")
    assert is_missing(location)
