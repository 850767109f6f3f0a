"""The package: what a wheel holds, and that the service runs from it wherever it is installed."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

import app
from app.contract.document import Contract
from app.resources import resource_path
from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, run, serving
from tests.integration.server.wire import ask, request

CHECKOUT = Path(app.__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
SAMPLE = "data/list-images-details.json"


class Installed(NamedTuple):
    """The package as a wheel, and in a folder of its own."""

    names: set[str]
    folder: Path

    @property
    def command(self) -> str:
        """The installed command."""
        return str(self.folder / "bin" / "compute-images")


def files(folder: str, pattern: str) -> set[str]:
    return {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / folder).rglob(pattern)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build a wheel from a copy of the checkout, and install it without what it depends on."""
    folder = tmp_path_factory.mktemp("package")
    copy, wheels, target = folder / "copy", folder / "wheels", folder / "installed"
    for name in ("app", "data", "openapi"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "catalog.db*"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, copy / name)
    (copy / "data" / "catalog.db").write_bytes(b"made by a run of the service")
    subprocess.run([*PIP, "wheel", ".", "--no-deps", "--no-build-isolation", "-w", wheels], cwd=copy, check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*PIP, "install", "--no-deps", "--target", target, wheel], cwd=folder, check=True)
    with zipfile.ZipFile(wheel) as archive:
        return Installed(set(archive.namelist()), target)


@pytest.fixture(scope="module")
def service(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the installed service far from the checkout."""
    with serving(
        tmp_path_factory.mktemp("elsewhere"),
        command=(installed.command, "serve", "--bind", "127.0.0.1:0"),
        PYTHONPATH=str(installed.folder),
        IMAGES_COMPUTE_URL="http://openstack.example.com",
        IMAGES_GLANCE_URL="http://glance.openstack.example.com",
    ) as running:
        yield running


def printed(installed: Installed, folder: Path, *command: str) -> str:
    """Run a command with the installed package, and give what it prints."""
    ended = run(*command, folder=folder, PYTHONPATH=str(installed.folder))
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_a_wheel_holds_the_code_the_contract_the_page_and_the_sample_and_nothing_else(installed: Installed) -> None:
    code = files("app", "*.py") | files("app/ui", "*")
    resources = {f"app/{name}" for name in files("openapi", "*.yaml") | files("data", "*.json")}
    assert {name for name in installed.names if ".dist-info/" not in name} == code | resources
    assert {Path(name).suffix for name in resources} == {".json", ".yaml"}


def test_the_installed_package_is_what_runs(installed: Installed, tmp_path: Path) -> None:
    code = f"import app; from app.resources import resource_path as p; print(app.__file__, p({SAMPLE!r}), sep='\\n')"
    assert printed(installed, tmp_path, sys.executable, "-c", code).splitlines() == [
        str(installed.folder / "app" / "__init__.py"),
        str(installed.folder / "app" / SAMPLE),
    ]


def test_a_checkout_has_the_same_files_beside_the_package(installed: Installed) -> None:
    names = sorted(files("openapi", "*.yaml") | files("data", "*.json"))
    assert [resource_path(name) for name in names] == [CHECKOUT / name for name in names]
    assert [resource_path(name).read_bytes() for name in names] == [
        (installed.folder / "app" / name).read_bytes() for name in names
    ]


def test_the_installed_command_knows_its_version(installed: Installed, tmp_path: Path) -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert printed(installed, tmp_path, installed.command, "--version") == f"compute-images, version {version}\n"


def test_the_installed_command_helps(installed: Installed, tmp_path: Path) -> None:
    usage = printed(installed, tmp_path, installed.command, "--help").splitlines()
    assert usage[0] == "Usage: compute-images [OPTIONS] COMMAND [ARGS]..."
    commands = [line.split()[0] for line in usage[usage.index("Commands:") + 1 :]]
    assert commands == ["export", "import", "mirror", "serve", "token"]


def test_the_installed_service_answers_the_documented_sample(service: Service) -> None:
    assert ask(service.port, request(LIST)).document == orjson.loads((CHECKOUT / SAMPLE).read_bytes())


def test_the_installed_service_serves_the_contract_and_its_pages(service: Service) -> None:
    assert ask(service.port, request("/openapi.yaml")).body == Contract.load(secured=False).yaml
    for name in ("", "swagger-initializer.js", "swagger-ui-bundle.js"):
        assert b"swagger-ui" in ask(service.port, request(f"/ui/{name}")).body


def test_the_installed_service_makes_its_catalog_where_it_runs(service: Service) -> None:
    assert (service.folder / "data" / "catalog.db").is_file()
    assert service.said == ["Made the catalog data/catalog.db from the documented sample: 7 images."]
