"""How the service starts, and what keeps it from starting."""

import shlex
import shutil
import socket
import sysconfig
from pathlib import Path
from string import Template

import pytest

import app
from app.resources import resource_path
from app.server.gunicorn import Server, Worker
from app.settings import Settings
from tests.integration.server.conftest import LIST
from tests.integration.server.service import SERVE, Service, run, serving
from tests.integration.server.wire import ask, request

CHECKOUT = Path(app.__file__).parent.parent
PROCESSES = dict(line.split(": ", 1) for line in (CHECKOUT / "Procfile").read_text().splitlines())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_the_first_start_makes_the_catalog_from_the_sample_and_says_so_and_the_second_says_nothing(
    tmp_path: Path,
) -> None:
    said = []
    for _ in range(2):
        with serving(tmp_path) as service:
            assert len(ask(service.port, request(LIST)).images) == 7
        said.append(service.said)
    assert said == [["Made the catalog data/catalog.db from the documented sample: 7 images."], []]


def test_the_service_writes_nothing_but_its_catalog(service: Service) -> None:
    assert ask(service.port, request(LIST)).status == 200
    assert {path.name for path in service.folder.iterdir()} == {"data", "log"}
    assert {path.name for path in (service.folder / "data").iterdir()} - {"catalog.db-shm", "catalog.db-wal"} == {
        "catalog.db"
    }


def test_the_procfile_starts_a_mirror_of_the_cloud_that_it_is_told(tmp_path: Path) -> None:
    assert PROCESSES.keys() == {"web", "mirror"}
    ended = run(
        *shlex.split(PROCESSES["mirror"]), folder=tmp_path, PATH=sysconfig.get_path("scripts"), HOME=str(tmp_path)
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: The cloud cannot be used: ")


def test_the_procfile_starts_the_same_service_for_other_machines(tmp_path: Path) -> None:
    port = free_port()
    path = sysconfig.get_path("scripts")
    words = shlex.split(Template(PROCESSES["web"]).substitute(PORT=port))
    with serving(tmp_path, command=words, PATH=path, PORT=str(port)) as service:
        assert service.port == port
        assert f"Listening at: http://0.0.0.0:{port} " in service.log
        assert len(ask(port, request(LIST)).images) == 7
        warning = f"Warning: nobody is asked for a token (IMAGES_AUTH is none): whoever reaches 0.0.0.0:{port} can"
        assert service.log.count(warning) == service.log.count("Warning") == 1


def test_a_service_without_credentials_for_keystone_does_not_start(tmp_path: Path) -> None:
    folder, home = tmp_path / "folder", tmp_path / "home"
    folder.mkdir()
    ended = run(*SERVE, folder=folder, IMAGES_AUTH="keystone", HOME=str(home))
    problem = (
        "The credentials for Keystone cannot be used: Auth plugin requires parameters which were not given: auth_url"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"Error: {problem}\n")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("IMAGES_MAX_LIMIT", "0", "is '0'; it takes a whole number from 1 to 100000"),
        ("IMAGES_COMPUTE_URL", "ftp://a.test", "is 'ftp://a.test'; it takes an http or https URL"),
        ("IMAGES_AUTH", "tokens", "is 'tokens'; it takes none, token or keystone"),
        ("WEB_CONCURRENCY", "two", "is 'two'; it takes a whole number from 1 to 1024"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line_and_nothing_is_made(
    tmp_path: Path, variable: str, value: str, problem: str
) -> None:
    ended = run(*SERVE, folder=tmp_path, **{variable: value})
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"Error: {variable} {problem}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_catalog_that_is_none_is_said_in_one_line_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    file.write_text("This is no database, however long one reads in it. " * 100)
    before = file.read_bytes()
    ended = run(*SERVE, folder=tmp_path, IMAGES_CATALOG=str(file))
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"Error: {file}: file is not a database\n")
    assert (file.read_bytes(), list(tmp_path.iterdir())) == (before, [file])


def test_a_contract_with_an_operation_that_nothing_serves_ends_the_start(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(CHECKOUT / "app", copy / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("openapi", "data"):
        shutil.copytree(resource_path(folder), copy / folder)
    contract = copy / "openapi" / "compute-images.yaml"
    text = contract.read_text()
    assert text.count("operationId: listImagesDetails") == 1
    contract.write_text(text.replace("operationId: listImagesDetails", "operationId: nothingServesThis"))
    ended = run(*SERVE, folder=tmp_path, WEB_CONCURRENCY="1", PYTHONPATH=str(copy))
    assert ended.returncode == 3
    assert "has no attribute 'nothing_serves_this'" in ended.stderr
    assert "Application startup complete." not in ended.stderr


def test_a_server_waits_longer_for_its_workers_than_they_for_their_requests() -> None:
    config = Server(Settings(), bind="127.0.0.1:0", workers=1).cfg
    assert config.graceful_timeout > Worker.CONFIG_KWARGS["timeout_graceful_shutdown"]
