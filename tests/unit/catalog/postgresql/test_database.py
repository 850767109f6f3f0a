"""Errors of PostgreSQL and of the network, as errors of the domain."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from socket import create_server
from traceback import format_exception
from urllib.parse import quote, urlencode

import pytest
from psycopg import OperationalError

from app.catalog.errors import CatalogBusy, CatalogDamaged, CatalogReadOnly, CatalogUnavailable, SchemaMismatch
from app.catalog.postgresql.database import Connection, connect, translate_errors
from app.catalog.postgresql.url import parse_url
from app.errors import DomainError

RAISE = "DO $$ BEGIN RAISE EXCEPTION 'text' USING ERRCODE = '{}', DETAIL = 's3cret'; END $$"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        *((code, CatalogBusy()) for code in ("55P03", "40P01", "40001")),
        *((code, CatalogReadOnly("NAME: text")) for code in ("25006", "42501")),
        *((code, SchemaMismatch()) for code in ("42P01", "42703")),
        *((code, CatalogDamaged("NAME: text")) for code in ("XX001", "XX002")),
        *((code, CatalogUnavailable("NAME: text")) for code in ("53100", "53300", "57P01", "57014", "08006", "XX000")),
        ("23505", CatalogUnavailable("NAME: UniqueViolation")),
        ("22P02", CatalogUnavailable("NAME: InvalidTextRepresentation")),
    ],
)
def test_error_of_the_server_is_translated_without_values(
    connection: Connection, code: str, error: DomainError
) -> None:
    with pytest.raises(DomainError) as raised, translate_errors("NAME"):
        connection.execute(RAISE.format(code).encode())
    assert (type(raised.value), str(raised.value)) == (type(error), str(error))


def refuse() -> None:
    connect(parse_url("postgresql://user:s3cret@127.0.0.1:1/images"))


def look_up() -> None:
    connect(parse_url("postgresql://user:s3cret@host.invalid/images?password=s3cret"))


def open_too_many_files() -> None:
    limits = getrlimit(RLIMIT_NOFILE)
    with create_server(("127.0.0.1", 0)) as server:
        os.close(lowest := os.dup(server.fileno()))
        setrlimit(RLIMIT_NOFILE, (lowest + 1, limits[1]))  # enough to connect, but not to wait for it
        try:
            connect(parse_url(f"postgresql://user:s3cret@127.0.0.1:{server.getsockname()[1]}/images"))
        finally:
            setrlimit(RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("fail", [refuse, look_up, open_too_many_files])
def test_server_that_cannot_be_reached_is_reported_in_one_line_without_the_password(fail: Callable[[], None]) -> None:
    with pytest.raises(CatalogUnavailable) as raised, translate_errors("NAME"):
        fail()
    assert len(str(raised.value).splitlines()) == 1
    assert "s3cret" not in "".join(format_exception(raised.value)).replace(":s3cret@", "").replace("=s3cret", "")


def test_session_is_found_by_its_name_and_accepts_what_the_url_sets(url: str) -> None:
    with connect(parse_url(f"{url}?application_name=x&options=-c%20work_mem%3D8MB")) as connection:
        settings = [connection.info.parameter_status("application_name")]
        settings += [row[0] for row in connection.execute("SHOW work_mem")]
        settings += [row[0] for row in connection.execute("SHOW enable_seqscan")]
    assert settings == ["compute-images", "8MB", "off"]


def test_environment_and_service_file_cannot_allow_a_standby(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service_file = tmp_path / "services"
    service_file.write_text("[images]\ntarget_session_attrs=any\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service_file))
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "any")
    with connect(parse_url(f"{url}?service=images")) as connection:
        values = {each.keyword: each.val for each in connection.pgconn.info}
    assert values[b"target_session_attrs"] == b"read-write"


@pytest.mark.parametrize("is_lost", [False, True])
def test_closed_connection_leaves_no_file_open(url: str, connection: Connection, is_lost: bool) -> None:
    gc.collect()  # closes connections of earlier tests
    before = set(Path("/dev/fd").iterdir())
    other = connect(parse_url(url))
    if is_lost:
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", [other.info.backend_pid])
        with pytest.raises(OperationalError):
            other.execute("SELECT 1")
    other.close()
    other.shut_down()
    assert set(Path("/dev/fd").iterdir()) == before


def test_timeouts_of_the_role_do_not_apply(url: str) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout")
    options = "".join(f"-c {name}=1h " for name in names)
    with connect(parse_url(f"{url}?{urlencode({'options': options}, quote_via=quote)}")) as connection:
        settings = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names]
    assert settings == [("0",), ("0",), ("0",), ("15min",)]
