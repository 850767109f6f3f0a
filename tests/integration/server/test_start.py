"""Start of the service, and errors that prevent it."""

import os
import shlex
import shutil
import sysconfig
from pathlib import Path

import pytest

import app
from app.resources import resource_path
from app.server.gunicorn import Server
from app.server.worker import Worker
from app.settings import Settings
from tests.integration.server.conftest import LIST
from tests.integration.server.service import SERVE, Service, free_port, run, serving
from tests.integration.server.wire import fetch, request

CHECKOUT = Path(app.__file__).parent.parent
PROCESSES = dict(line.split(": ", 1) for line in (CHECKOUT / "Procfile").read_text().splitlines())

NO_CREDENTIALS = (
    "The credentials for Keystone cannot be used: Auth plugin requires parameters which were not given: auth_url"
)


def test_first_start_creates_catalog_from_sample_and_reports_it(tmp_path: Path) -> None:
    outputs = []
    for _ in range(2):
        with serving(tmp_path) as service:
            assert len(fetch(service.port, request(LIST)).images) == 7
        outputs.append(service.printed)
    assert outputs == [["Created the catalog data/catalog.db from the documented sample: 7 images."], []]


def test_only_loopback_names_are_served_without_authentication_by_default(tmp_path: Path) -> None:
    with serving(tmp_path, IMAGES_ALLOWED_HOSTS="") as service:
        hosts = (f"127.0.0.1:{service.port}", f"LOCALHOST:{service.port}", "[::1]", f"rebind.example:{service.port}")
        statuses = [fetch(service.port, request(LIST, host=host)).status for host in hosts]
    assert statuses == [200, 200, 200, 400]


def test_service_writes_only_its_catalog(service: Service) -> None:
    assert fetch(service.port, request(LIST)).status == 200
    assert {path.name for path in service.folder.iterdir()} == {"data", "log"}
    assert {path.name for path in (service.folder / "data").iterdir()} - {"catalog.db-shm", "catalog.db-wal"} == {
        "catalog.db"
    }


def test_procfile_starts_mirror(tmp_path: Path) -> None:
    assert PROCESSES.keys() == {"web", "mirror"}
    ended = run(
        *shlex.split(PROCESSES["mirror"]), folder=tmp_path, PATH=sysconfig.get_path("scripts"), HOME=str(tmp_path)
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: Invalid cloud configuration: ")


def test_procfile_starts_service_on_all_addresses_where_it_requires_tokens(tmp_path: Path) -> None:
    port = free_port()
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    with serving(tmp_path, command=("bash", "-c", PROCESSES["web"]), PATH=path, PORT=str(port)) as service:
        assert service.port == port
        assert f" serves data/catalog.db at http://0.0.0.0:{port} with " in service.log
        assert fetch(port, request(LIST)).status == 401


def test_named_catalog_is_made_from_the_sample_on_request(tmp_path: Path) -> None:
    with serving(tmp_path, command=(*SERVE, "--sample"), IMAGES_CATALOG="named.db") as service:
        assert len(fetch(service.port, request(LIST)).images) == 7
        assert service.printed == ["Created the catalog named.db from the documented sample: 7 images."]


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        ("IMAGES_MAX_LIMIT", "0", "IMAGES_MAX_LIMIT is '0'; expected a whole number from 1 to 100000"),
        ("IMAGES_COMPUTE_URL", "ftp://a.test", "IMAGES_COMPUTE_URL is 'ftp://a.test'; expected an http or https URL"),
        ("IMAGES_AUTH", "tokens", "IMAGES_AUTH is 'tokens'; expected none, token or keystone"),
        ("IMAGES_AUTH", "keystone", NO_CREDENTIALS),
        ("WEB_CONCURRENCY", "two", "WEB_CONCURRENCY is 'two'; expected a whole number from 1 to 1024"),
    ],
)
def test_invalid_setting_prevents_start_and_creates_nothing(
    tmp_path: Path, variable: str, value: str, error: str
) -> None:
    folder = tmp_path / "service"
    folder.mkdir()
    # The home directory is another one: the loader of Keystone's plugins may keep a cache there.
    ended = run(*SERVE, folder=folder, HOME=str(tmp_path / "home"), **{variable: value})
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"Error: {error}\n")
    assert list(folder.iterdir()) == []


def test_file_that_is_no_database_prevents_start_and_is_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    file.write_text("This is not a database. " * 100)
    before = file.read_bytes()
    ended = run(*SERVE, folder=tmp_path, IMAGES_CATALOG=str(file))
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"Error: {file}: file is not a database\n")
    assert (file.read_bytes(), list(tmp_path.iterdir())) == (before, [file])


def test_operation_without_function_prevents_start(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(CHECKOUT / "app", copy / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("openapi", "data"):
        shutil.copytree(resource_path(folder), copy / folder)
    contract = copy / "openapi" / "compute-images.yaml"
    text = contract.read_text()
    assert text.count("operationId: listImagesDetails") == 1
    contract.write_text(text.replace("operationId: listImagesDetails", "operationId: hasNoFunction"))
    ended = run(*SERVE, folder=tmp_path, WEB_CONCURRENCY="1", PYTHONPATH=str(copy))
    assert ended.returncode == 3
    assert "has no attribute 'has_no_function'" in ended.stderr
    assert "Application startup complete." not in ended.stderr


def test_graceful_timeout_of_gunicorn_is_longer_than_that_of_workers() -> None:
    config = Server(Settings(), bind="127.0.0.1:0", workers=1).cfg
    assert config.graceful_timeout > Worker.CONFIG_KWARGS["timeout_graceful_shutdown"]
