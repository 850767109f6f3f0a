"""What happens to a running service when something happens to the file of its catalog."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import COMMAND, Service, run, serving
from tests.integration.server.wire import Connection, request
from tests.support.images import catalog_of, image, image_id

UNAVAILABLE = b"The catalog of images cannot be reached at the moment; try again later."


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Service]:
    """Serve one image from the folder of the test, by one worker."""
    catalog = catalog_of(tmp_path, image(1))
    with serving(tmp_path, IMAGES_CATALOG=str(catalog)) as running:
        yield running


def test_images_imported_beside_a_running_service_are_answered_at_once(small: Service) -> None:
    catalog = small.folder / "catalog.db"
    with Connection(small.port) as connection:
        assert connection.ask(request(LIST)).images == [image_id(1)]
        catalog_of(small.folder, image(2, created="2021-01-01T00:00:00Z"))
        assert connection.ask(request(LIST)).images == [image_id(2), image_id(1)]
        (small.folder / "none.json").write_text('{"images": []}')
        pruned = run(COMMAND, "import", "--prune", "none.json", folder=small.folder, IMAGES_CATALOG=str(catalog))
        assert (pruned.returncode, connection.ask(request(LIST)).images) == (0, [])


def test_a_catalog_replaced_under_a_running_service_is_unavailable_and_the_log_says_to_restart(small: Service) -> None:
    catalog = small.folder / "catalog.db"
    other = small.folder / "other.db"
    with Connection(small.port) as connection:
        assert connection.ask(request(LIST)).images == [image_id(1)]
        shutil.copy(catalog, other)
        other.replace(catalog)
        answer = connection.ask(request(LIST))
        assert answer.fault == (503, "serviceUnavailable")
        assert f"another file took the place of {catalog}: restart the service" in small.log


def test_a_catalog_deleted_under_a_running_service_is_unavailable_and_only_the_log_says_why(small: Service) -> None:
    catalog = small.folder / "catalog.db"
    with Connection(small.port) as connection:
        assert connection.ask(request(LIST)).images == [image_id(1)]
        catalog.unlink()
        answers = [connection.ask(request(f"{LIST}?limit={limit}")) for limit in (1, 2)]
        assert [answer.fault for answer in answers] == [(503, "serviceUnavailable")] * 2
        for answer in answers:
            assert answer.body == b'{"serviceUnavailable":{"code":503,"message":"' + UNAVAILABLE + b'"}}'
            _, entry = small.log.split(f"{answer.headers['x-compute-request-id']} GET '{LIST}': ")
            assert entry.startswith(f"{catalog}: [Errno 2] No such file or directory: '{catalog}'\n")
        assert connection.ask(request(f"{LIST}?limit=x")).fault == (400, "badRequest")
    assert not catalog.exists()
