"""The URL of a PostgreSQL database: the name of the catalog, without a password, and what is rejected."""

from collections.abc import Mapping
from traceback import format_exception

import pytest

from app.catalog.postgresql.url import InvalidUrl, catalog_name, parse_url

ENVIRONMENT = {"PGHOST": "db.test", "PGPORT": "6543", "PGDATABASE": "images", "PGPASSWORD": "s3cret"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*ENVIRONMENT, "PGSERVICE", "PGHOSTADDR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://db.test/images", "postgresql://db.test:5432/images"),
        ("postgres://db.test/images", "postgresql://db.test:5432/images"),
        ("postgresql://user:s3cret@db.test:6432/images", "postgresql://db.test:6432/images"),
        ("postgresql://user:s3%40%2Fcret@db.test/images?sslmode=verify-full", "postgresql://db.test:5432/images"),
        ("postgresql://db.test/images?password=s3cret&user=user", "postgresql://db.test:5432/images"),
        ("postgresql://user:s3cret@a.test:1,b.test:2/images", "postgresql://a.test:1,b.test:2/images"),
        ("postgresql://a.test,b.test:6432/images", "postgresql://a.test:5432,b.test:6432/images"),
        ("postgresql://a.test,b.test/images?port=6432", "postgresql://a.test:6432,b.test:6432/images"),
        ("postgresql://[::1]:6432/images", "postgresql://[::1]:6432/images"),
        ("postgresql:///images?host=/run/postgresql", "postgresql://%2Frun%2Fpostgresql:5432/images"),
        ("postgresql://%2Frun%2Fpostgresql/images", "postgresql://%2Frun%2Fpostgresql:5432/images"),
        ("postgresql:///images?hostaddr=192.0.2.1", "postgresql://192.0.2.1:5432/images"),
        ("postgresql://db.test/a%40b%20c", "postgresql://db.test:5432/a%40b%20c"),
        ("postgresql:///?service=images", "postgresql:///?service=images"),
        ("postgresql://", "postgresql://:5432/"),
    ],
)
def test_name_of_the_catalog_has_no_user_password_and_parameters(url: str, name: str) -> None:
    assert catalog_name(parse_url(url)) == name


def test_name_of_the_catalog_contains_what_libpq_takes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    assert catalog_name(parse_url("postgresql://")) == "postgresql://db.test:6543/images"


@pytest.mark.parametrize(
    ("url", "parameters"),
    [
        ("postgresql://u%40ser:s3%2Fcret@h/db", {"user": "u@ser", "password": "s3/cret", "host": "h", "dbname": "db"}),
        (
            "postgresql:///?service=images&options=-c%20work_mem%3D8MB&sslmode=verify-full",
            {"service": "images", "options": "-c work_mem=8MB", "sslmode": "verify-full"},
        ),
        ("postgresql:///?target_session_attrs=primary", {"target_session_attrs": "primary"}),
    ],
)
def test_url_is_read_as_libpq_reads_it(url: str, parameters: Mapping[str, str]) -> None:
    assert parse_url(url) == parameters


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://user:s3%zzcret@h/db", "postgresql://h/db?s3cret=1", "postgresql://[s3cret/db"),
        *("postgresql://user:s@s3cret@h/db", "postgresql://user:s3cret/x@h/db", "postgresql://user:12/s3cret@h/db"),
        *("postgresql://h:s3cret/db", "postgresql://h/db?host=s3cret@h", "postgresql://user:s3cret /@h/db"),
    ],
)
def test_invalid_url_is_rejected_without_its_password(url: str) -> None:
    with pytest.raises(InvalidUrl) as raised:
        parse_url(url)
    assert "s3cret" not in "".join(format_exception(raised.value))


@pytest.mark.parametrize("target", ["any", "read-only", "standby", "prefer-standby", ""])
def test_url_that_allows_a_standby_is_rejected(target: str) -> None:
    with pytest.raises(InvalidUrl) as raised:
        parse_url(f"postgresql://user:s3cret@a.test,b.test/db?target_session_attrs={target}")
    assert str(raised.value) == (
        f"IMAGES_CATALOG sets target_session_attrs to '{target}'; expected read-write or primary, "
        "because a standby may lag behind the primary"
    )
