"""`serve` as a test double: it works on a copy of the catalog."""

from pathlib import Path

from app.catalog.engines import open_catalog
from app.catalog.models import StoredImage, Token
from app.catalog.tokens import add_token
from tests.integration.server.service import serving
from tests.integration.server.wire import fetch, request
from tests.support.images import catalog_of, image
from tests.support.projects import PROJECT


def test_named_catalog_is_copied_and_never_changed(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, image(1, owner=PROJECT))
    add_token(open_catalog(catalog), PROJECT, is_admin=False, expires=None)
    before = contents(catalog)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with serving(tmp_path, IMAGES_TEST_DOUBLE="on", IMAGES_CATALOG=str(catalog), TMPDIR=str(temporary)) as service:
        assert fetch(service.port, request(f"/v2/{PROJECT}/images")).status == 401  # the copy has the token
        add_token(open_catalog(next(temporary.glob("*/catalog.db"))), PROJECT, is_admin=False, expires=None)
        service.terminate()
        assert service.wait() == 0
    assert f" serves a copy of {catalog} at " in service.log
    assert (contents(catalog), list(temporary.iterdir())) == (before, [])


def contents(catalog: Path) -> tuple[list[StoredImage], list[Token]]:
    with open_catalog(catalog).open_snapshot() as snapshot:
        return list(snapshot.all_images(owner=None, deleted=True)), snapshot.tokens()
