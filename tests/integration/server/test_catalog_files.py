"""A running service, and changes of its catalog file by other programs."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import orjson
import pytest

from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogUnavailable
from tests.integration.server.conftest import LIST
from tests.integration.server.service import COMMAND, Service, run, serving, session, until
from tests.integration.server.wire import Connection, request
from tests.support.catalogs import add_images, exported, listed
from tests.support.images import catalog_of, image, image_id, stored_images


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Service]:
    catalog = catalog_of(tmp_path, image(1))
    with serving(tmp_path, IMAGES_CATALOG=str(catalog)) as running:
        yield running


def test_import_during_service_is_visible_at_once(small: Service) -> None:
    catalog = small.folder / "catalog.db"
    with Connection(small.port) as connection:
        assert connection.fetch(request(LIST)).images == [image_id(1)]
        catalog_of(small.folder, image(2, created="2021-01-01T00:00:00Z"))
        assert connection.fetch(request(LIST)).images == [image_id(2), image_id(1)]
        (small.folder / "none.json").write_text('{"images": []}')
        pruned = run(COMMAND, "import", "--prune", "none.json", folder=small.folder, IMAGES_CATALOG=str(catalog))
        assert (pruned.returncode, connection.fetch(request(LIST)).images) == (0, [])


def test_replaced_catalog_returns_503_and_log_says_to_restart(small: Service) -> None:
    catalog = small.folder / "catalog.db"
    other = small.folder / "other.db"
    with Connection(small.port) as connection:
        assert connection.fetch(request(LIST)).images == [image_id(1)]
        shutil.copy(catalog, other)
        other.replace(catalog)
        response = connection.fetch(request(LIST))
        assert response.fault == (503, "serviceUnavailable")
        until(lambda: f"{catalog} was replaced by another file: restart the service" in small.log)


def test_deleted_catalog_returns_503_with_reason_in_log_only(small: Service) -> None:
    catalog = small.folder / "catalog.db"
    with Connection(small.port) as connection:
        assert connection.fetch(request(LIST)).images == [image_id(1)]
        catalog.unlink()
        responses = [connection.fetch(request(f"{LIST}?limit={limit}")) for limit in (1, 2)]
        assert [response.fault for response in responses] == [(503, "serviceUnavailable")] * 2
        messages = [response.document["serviceUnavailable"]["message"] for response in responses]
        assert messages == [CatalogUnavailable.public_message] * 2
        cause = f"GET '{LIST}': {catalog}: [Errno 2] No such file or directory: '{catalog}'\n"
        entries = [f"{response.headers['x-compute-request-id']} {cause}" for response in responses]
        until(lambda: all(entry in small.log for entry in entries))
        assert connection.fetch(request(f"{LIST}?limit=x")).fault == (400, "badRequest")
    assert not catalog.exists()


def test_sample_is_not_added_to_a_catalog_that_is_being_made(tmp_path: Path) -> None:
    catalog = tmp_path / "data" / "catalog.db"
    with ExitStack() as stack:
        with open_catalog(catalog).transaction(timeout=1) as transaction:
            transaction.upsert_images(stored_images(image(1)))
            command = (COMMAND, "token", "add", "openstack")
            waiting = [stack.enter_context(session(command, tmp_path, {}, output=subprocess.DEVNULL)) for _ in range(2)]
            until(lambda: len(users(catalog)) == 3)
        assert [process.wait(20) for process in waiting] == [0, 0]
    assert listed(open_catalog(catalog)) == [1]


@pytest.mark.parametrize("command", [("serve", "--bind", "127.0.0.1:0"), ("token", "add", "openstack"), ("export",)])
def test_folder_that_is_not_writable_is_explained_in_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    catalog = catalog_of(tmp_path / "data", image(1))
    for file in catalog.parent.iterdir():
        if file != catalog:
            file.unlink()
    as_user = ("setpriv", "--bounding-set", "-dac_override") if os.getuid() == 0 else ()
    catalog.parent.chmod(0o555)
    try:
        result = run(*as_user, COMMAND, *command, folder=tmp_path)
    finally:
        catalog.parent.chmod(0o755)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: data/catalog.db: attempt to write a readonly database: SQLite cannot create catalog.db-shm, which the "
        "write-ahead log needs. Make the folder writable, or free space; to serve a read-only folder, see README, "
        '"Several processes"\n'
    )


def test_export_whose_reader_pauses_does_not_hold_back_the_write_ahead_log(tmp_path: Path) -> None:
    engine = open_catalog(catalog_of(tmp_path, *(image(n, metadata={"key": "x" * 255}) for n in range(1000))))
    before = [each.id for each in exported(engine)]
    with session((COMMAND, "export"), tmp_path, {"IMAGES_CATALOG": engine.name}, output=subprocess.PIPE) as process:
        assert process.stdout
        start = process.stdout.read(1)  # the rest is more than a pipe holds
        add_images(engine, image(1, name="new"), image(5000))
        assert "catalog.db" not in {file.name for file in open_files(process.pid)}
        assert [each["id"] for each in orjson.loads(start + process.stdout.read())["images"]] == before


def users(file: Path) -> set[str]:
    """Return the ids of the processes that have opened a file."""
    return {process.name for process in Path("/proc").glob("[0-9]*") if file in open_files(process.name)}


def open_files(pid: int | str) -> set[Path]:
    """Return the files that a process has opened."""
    files = set()
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            files.add(descriptor.readlink())
    return files
