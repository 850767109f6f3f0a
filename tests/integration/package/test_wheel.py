"""The package: the contents of the wheel, and the service that runs from its installation."""

import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from app.contract.document import Contract
from app.resources import resource_path
from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, run, serving
from tests.integration.server.service import environment as service_environment
from tests.integration.server.wire import fetch, request
from tests.support.checkout import CHECKOUT, copy_sources
from tests.support.packages import environment
from tests.unit.test_readme import README

XDIST = ("pytest-xdist==3.8.0",)

pytestmark = pytest.mark.external(install=[partial(environment, *XDIST)])

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
SAMPLE = "data/list-images-details.json"


class Installed(NamedTuple):
    """The names of the files in the wheel, and the folder in which it is installed."""

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
    """Build a wheel from a copy of the repository, and install it without its dependencies."""
    folder = tmp_path_factory.mktemp("package")
    copy, wheels, target = folder / "copy", folder / "wheels", folder / "installed"
    copy_sources(copy)
    (copy / "data" / "catalog.db").write_bytes(b"created by the service when it runs in the checkout")
    subprocess.run([*PIP, "wheel", ".", "--no-deps", "--no-build-isolation", "-w", wheels], cwd=copy, check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*PIP, "install", "--no-deps", "--target", target, wheel], cwd=folder, check=True)
    with zipfile.ZipFile(wheel) as archive:
        return Installed(set(archive.namelist()), target)


@pytest.fixture(scope="module")
def service(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(
        tmp_path_factory.mktemp("elsewhere"),
        command=(installed.command, "serve", "--bind", "127.0.0.1:0"),
        PYTHONPATH=str(installed.folder),
        IMAGES_COMPUTE_URL="http://openstack.example.com",
        IMAGES_GLANCE_URL="http://glance.openstack.example.com",
    ) as running:
        yield running


def printed(installed: Installed, folder: Path, *command: str) -> str:
    ended = run(*command, folder=folder, PYTHONPATH=str(installed.folder))
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_wheel_contains_code_contract_swagger_ui_and_sample_only(installed: Installed) -> None:
    code = {
        name.replace("app/testing/", "compute_images_testing/")
        for name in files("app", "*.py") | files("app/ui", "*") | files("app/testing", "py.typed")
    }
    resources = {f"app/{name}" for name in files("openapi", "*.yaml") | files("data", "*.json")}
    assert {name for name in installed.names if ".dist-info/" not in name} == code | resources
    assert {Path(name).suffix for name in resources} == {".json", ".yaml"}


def test_installed_package_is_imported(installed: Installed, tmp_path: Path) -> None:
    code = f"import app; from app.resources import resource_path as p; print(app.__file__, p({SAMPLE!r}), sep='\\n')"
    assert printed(installed, tmp_path, sys.executable, "-c", code).splitlines() == [
        str(installed.folder / "app" / "__init__.py"),
        str(installed.folder / "app" / SAMPLE),
    ]


def test_checkout_and_wheel_have_the_same_resources(installed: Installed) -> None:
    names = sorted(files("openapi", "*.yaml") | files("data", "*.json"))
    assert [resource_path(name) for name in names] == [CHECKOUT / name for name in names]
    assert [resource_path(name).read_bytes() for name in names] == [
        (installed.folder / "app" / name).read_bytes() for name in names
    ]


def test_wheel_states_and_contains_the_licence(installed: Installed) -> None:
    (metadata,) = installed.folder.glob("compute_images-*.dist-info")
    assert "License-Expression: Apache-2.0\n" in (metadata / "METADATA").read_text()
    text = (metadata / "licenses" / ".github" / "LICENSE").read_bytes()
    assert text == (CHECKOUT / ".github" / "LICENSE").read_bytes()


def test_installed_command_prints_its_version_and_a_help_page(installed: Installed, tmp_path: Path) -> None:
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert printed(installed, tmp_path, installed.command, "--version") == f"compute-images, version {version}\n"
    usage = printed(installed, tmp_path, installed.command, "--help").splitlines()
    assert usage[0] == "Usage: compute-images [OPTIONS] COMMAND [ARGS]..."
    commands = [line.split()[0] for line in usage[usage.index("Commands:") + 1 :]]
    assert commands == [
        "backup",
        "check",
        "export",
        "import",
        "migrate",
        "mirror",
        "restore",
        "serve",
        "status",
        "token",
    ]


@pytest.mark.parametrize("source", ["checkout", "wheel"])
def test_command_that_installs_an_extra_finds_the_installed_package(
    installed: Installed, tmp_path: Path, source: str
) -> None:
    variables = {"PYTHONPATH": str(installed.folder)} if source == "wheel" else {}
    code = "import sys; sys.modules['keystoneauth1'] = None; from app.cli import main; main(['serve'])"
    ended = run(sys.executable, "-c", code, folder=tmp_path, IMAGES_AUTH="keystone", **variables)
    command = ended.stderr.partition("which is not installed: ")[2]
    offline = {"PIP_NO_INDEX": "1", "PIP_DRY_RUN": "1", "PIP_NO_DEPS": "1"}
    output = run(*shlex.split(command), folder=tmp_path, **variables, **offline).stdout
    assert "Requirement already satisfied: compute-images[keystone] in " in output


def test_installed_service_serves_the_contract_and_swagger_ui(service: Service) -> None:
    assert fetch(service.port, request("/openapi.yaml")).body == Contract.load(secured=False).yaml_at(
        "http://openstack.example.com"
    )
    for name in ("", "swagger-initializer.js", "swagger-ui-bundle.js"):
        assert b"swagger-ui" in fetch(service.port, request(f"/ui/{name}")).body


def test_installed_service_creates_its_catalog_in_the_working_directory(service: Service) -> None:
    assert fetch(service.port, request(LIST)).document == orjson.loads((CHECKOUT / SAMPLE).read_bytes())
    assert (service.folder / "data" / "catalog.db").is_file()
    assert service.printed == ["Created the catalog data/catalog.db from the documented sample: 7 images."]


def test_test_suite_of_the_readme_passes_beside_a_package_with_the_name_of_ours(
    installed: Installed, tmp_path: Path
) -> None:
    for name, text in re.findall(r"<!-- file: (.*?) -->\n```python\n(.*?)```", README, flags=re.DOTALL):
        (tmp_path / name).write_text(text)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("NAME = 'tool'")
    (tmp_path / "test_app.py").write_text("import app\ndef test_app(compute_images):\n    assert app.NAME == 'tool'\n")
    xdist = next(environment(*XDIST).glob("lib/python3*/site-packages"))
    command = (sys.executable, "-W", "error", "-m", "pytest", "-v", "-p", "no:cacheprovider", "-n", "2")
    variables = service_environment(PYTHONPATH=f"{installed.folder}:{xdist}")
    tests = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert "2 workers [4 items]" in tests.stdout
