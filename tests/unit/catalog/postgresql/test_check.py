"""The check of a catalog in PostgreSQL: what it finds, and what it advises."""

import pytest

from app.catalog.check import REBUILD, RESTORE, check_catalog
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogUnavailable, SchemaMismatch
from app.catalog.inspection import Finding
from app.catalog.postgresql.database import connect
from app.catalog.postgresql.migrations import migrate
from app.catalog.postgresql.url import parse_url
from tests.support.catalogs import add_images, execute, postgresql_only
from tests.support.images import image
from tests.support.postgresql import Cluster
from tests.support.projects import OTHER_PROJECT, PROJECT

NO_TRIGGER = "ALTER TABLE … ENABLE ALWAYS TRIGGER change_version, or restore a backup into an empty database"
MISMATCH = Finding(str(SchemaMismatch()).removesuffix("."), RESTORE)


def without_trigger(tables: str) -> Finding:
    problem = f"NAME: changes of {tables} do not change the version, so services may send outdated responses"
    return Finding(problem, NO_TRIGGER)


def differing(table: str, missing: int, surplus: int) -> Finding:
    return Finding(f"NAME: {table} lacks {missing} entries, and has {surplus} that belong to no image", REBUILD)


def check(location: str) -> list[Finding]:
    engine = open_catalog(location)
    return [each._replace(problem=each.problem.replace(engine.name, "NAME")) for each in check_catalog(engine)]


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("SELECT 1", None),
        ("CREATE TABLE of_another_application (id integer)", None),
        (
            "DELETE FROM catalog",
            Finding(
                "NAME: the table catalog is empty, so there is no version, and writers do not wait for each other",
                "INSERT INTO catalog DEFAULT VALUES",
            ),
        ),
        ("DROP TRIGGER change_version ON images", without_trigger("images")),
        ("ALTER TABLE tokens DISABLE TRIGGER ALL", without_trigger("tokens")),
        ("ALTER TABLE images ENABLE TRIGGER change_version", without_trigger("images")),
        ("DELETE FROM image_index", differing("the index of the lists", 2, 0)),
        ("UPDATE image_members SET sequence = 9", differing("the table of members", 2, 2)),
        (
            "GRANT SELECT ON tokens TO PUBLIC",
            Finding("NAME: every role of the server can access tokens", "REVOKE ALL ON tokens FROM PUBLIC", True),
        ),
        ("DROP TABLE tokens", MISMATCH),
        ("DROP TABLE catalog", MISMATCH),
    ],
)
@postgresql_only
def test_findings(location: str, statement: str, finding: Finding | None) -> None:
    shared = image(2, visibility="shared", members=[PROJECT], pending_members=[OTHER_PROJECT])
    add_images(open_catalog(location), image(1), shared)
    execute(location, statement)
    assert check(location) == ([finding] if finding else [])


@postgresql_only
def test_role_that_cannot_write_is_a_warning(location: str) -> None:
    add_images(open_catalog(location), image(1))
    execute(location, "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA public TO reader")
    execute(location, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    execute(location, "GRANT INSERT, UPDATE, DELETE ON images, image_index, image_members, sync_status TO reader")
    try:
        findings = check(location.replace("postgres@", "reader@"))
    finally:
        execute(location, "DROP OWNED BY reader; DROP ROLE reader")
    problem = "the role of the URL has no write privileges for audiences, status_types, tokens, upstream, catalog"
    advice = 'grant it the privileges of images_service (README, "Several machines")'
    assert findings == [Finding(f"NAME: {problem}, so changes can fail", advice, is_warning=True)]


@pytest.mark.external
def test_encoding_without_all_characters_is_rejected_and_found(postgresql: Cluster) -> None:
    postgresql.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc")
    try:
        engine = open_catalog(location := postgresql.url("latin"))
        create = "create the database with ENCODING 'UTF8' TEMPLATE template0"
        with pytest.raises(CatalogUnavailable, match=f"/latin has the encoding LATIN1: {create}$"):
            add_images(engine, image(1))
        with connect(parse_url(location)) as connection:
            migrate(connection)  # as an earlier version did
        with pytest.raises(CatalogUnavailable, match=r"a character has no equivalent in the encoding LATIN1 of "):
            add_images(engine, image(1, name="日"))
        (finding,) = check(location)
    finally:
        postgresql.execute("DROP DATABASE latin WITH (FORCE)")
    assert finding.problem == "NAME has the encoding LATIN1, which cannot represent all names"
