"""The command `migrate`, on a missing catalog, an earlier one, and a current one."""

from pathlib import Path

from click.testing import CliRunner

from app import cli
from app.catalog.engine import SchemaState
from app.catalog.engines import open_catalog
from tests.unit.catalog.sqlite.earlier_catalogs import earlier_catalog


def migrate(path: Path) -> str:
    """Return the output, after a successful migration."""
    result = CliRunner(env={"IMAGES_CATALOG": str(path)}).invoke(cli.main, ["migrate"], catch_exceptions=False)
    assert (result.exit_code, open_catalog(path).schema_state()) == (0, SchemaState.CURRENT)
    return result.output


def test_missing_catalog_is_created_without_images(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    assert migrate(path) == f"Created {path}.\n"
    with open_catalog(path).open_snapshot() as snapshot:
        assert snapshot.image_ids() == set()
    assert migrate(path) == f"{path} needs no migration.\n"


def test_earlier_catalog_is_upgraded(tmp_path: Path) -> None:
    path = earlier_catalog(tmp_path, "5")
    assert migrate(path) == f"Upgraded {path}.\n"
