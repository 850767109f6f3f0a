"""`serve` as a test double: it works on a copy of the catalog."""

from pathlib import Path

from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from tests.integration.server.service import serving
from tests.integration.server.wire import fetch, request
from tests.support.images import catalog_at, image
from tests.support.projects import PROJECT
from tests.unit.catalog.test_copying import contents


def test_named_catalog_is_copied_and_never_changed(tmp_path: Path, location: str) -> None:
    catalog = open_catalog(catalog_at(location, image(1, owner=PROJECT)))
    add_token(catalog, PROJECT, is_admin=False, expires=None)
    before = contents(catalog)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with serving(tmp_path, IMAGES_TEST_DOUBLE="on", IMAGES_CATALOG=location, TMPDIR=str(temporary)) as service:
        assert fetch(service.port, request(f"/v2/{PROJECT}/images")).status == 401  # the copy has the token
        add_token(open_catalog(next(temporary.glob("*/catalog.db"))), PROJECT, is_admin=False, expires=None)
        service.terminate()
        assert service.wait() == 0
    assert f" serves a copy of {catalog.name} at " in service.log
    assert (contents(catalog), list(temporary.iterdir())) == (before, [])
