"""Clients generated from the contract of a running service, with the commands in README.md."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from tests.integration.server.service import Service, run, serving
from tests.support.images import catalog_of, image
from tests.support.npm import modules
from tests.support.packages import Missing, environment
from tests.unit.test_readme import README

PYPI = ("openapi-python-client==0.29.1", "mypy==2.4.1")
NPM = (
    "openapi-typescript@7.13.0",
    "openapi-fetch@0.17.0",
    "typescript@5.9.3",  # the latest that openapi-typescript supports
    "@types/node@20.19.43",
)

SCRIPTS = Path(__file__).parent / "scripts"
SERVICE = "http://127.0.0.1:8774"  # as README.md has it

COMPUTE_URL = "https://compute.example.com"
PROJECT, OTHER = "1" * 32, "2" * 32

IMAGES = [
    image(
        1,
        name="own",
        owner=PROJECT,
        created="2021-01-01T00:00:00Z",
        updated="2021-01-01T00:00:00Z",
        minRam=512,
        minDisk=10,
        metadata={"instance_uuid": "a-server", "ramdisk_id": None},
        **{"OS-EXT-IMG-SIZE:size": 5_000_000_000},
    ),
    image(2, owner=OTHER),
    image(3, owner=PROJECT, status="SAVING", progress=50, created="2019-01-01T00:00:00Z"),
]

Result = subprocess.CompletedProcess[str]


class Language(NamedTuple):
    """How to generate and use a client in a language."""

    generator: str  # the command in README.md
    output: str  # of a generator without warnings
    tools: Callable[[Path], dict[str, str]]  # installs the tools and returns environment variables
    operations: Callable[[Path], list[str]]  # returns the operations of the generated client
    check: tuple[str, ...]  # checks the types of the client and of a program that uses it
    run: tuple[str, ...]  # runs this program


def _python_tools(folder: Path) -> dict[str, str]:
    path = f"{environment(*PYPI) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    generated = dict.fromkeys(("PYTHONPATH", "MYPYPATH"), "compute-images-client")
    return {"PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "1"} | generated


def _python_operations(folder: Path) -> list[str]:
    files = (folder / "compute-images-client" / "compute_images_client" / "api").glob("*/*.py")
    return [file.stem for file in files if file.stem != "__init__"]


def _npm_tools(folder: Path) -> dict[str, str]:
    (folder / "node_modules").symlink_to(modules(*NPM))
    return {"NPM_CONFIG_UPDATE_NOTIFIER": "false"}


def _typescript_operations(folder: Path) -> list[str]:
    (_, types) = (folder / "compute-images.ts").read_text().split("export interface operations {\n")
    return re.findall(r"^    (\w+): \{$", types, flags=re.MULTILINE)


LANGUAGES = {
    "Python": Language(
        "openapi-python-client",
        "Generating {folder}/compute-images-client\n",
        _python_tools,
        _python_operations,
        ("mypy", "--strict", "--no-error-summary", "compute-images-client/compute_images_client", "calls.py"),
        ("python", "calls.py"),
    ),
    "TypeScript": Language(
        "openapi-typescript",
        f"✨ {NPM[0].replace('@', ' ')}\n" + "🚀 {url}/openapi.json → compute-images.ts\n",
        _npm_tools,
        _typescript_operations,
        (
            *("node_modules/.bin/tsc", "--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"),
            "--skipLibCheck",  # checking the declarations of dependencies would double the time
            *("--target", "es2022", "--module", "nodenext", "calls.mts"),
        ),
        ("node", "calls.mjs"),
    ),
}


class Generated(NamedTuple):
    """A generated client, in a folder with its tools and a program that uses it."""

    language: Language
    service: Service
    variables: dict[str, str]
    result: Result

    @property
    def expected(self) -> str:
        """The output of a generator without warnings."""
        return self.language.output.format(folder=self.service.folder, url=self.service.url)

    @property
    def operations(self) -> list[str]:
        """The operations of the client."""
        return self.language.operations(self.service.folder)

    def run(self, *command: str) -> Result:
        """Run a command with the tools of the client."""
        return run(*command, folder=self.service.folder, **self.variables)


def command(generator: str, url: str) -> str:
    """Return the command in README.md, with the URL of the running service."""
    (line,) = (line.strip() for line in README.splitlines() if generator in line and SERVICE in line)
    return line.replace(SERVICE, url)


@pytest.fixture(scope="session", params=LANGUAGES)
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    language = LANGUAGES[request.param]
    folder = tmp_path_factory.mktemp("generated")
    try:
        variables = language.tools(folder)
    except Missing as missing:
        pytest.skip(str(missing))
    for script in SCRIPTS.glob("calls.*"):
        shutil.copy(script, folder)
    catalog = catalog_of(folder, *IMAGES)
    with serving(folder, IMAGES_CATALOG=str(catalog), IMAGES_COMPUTE_URL=COMPUTE_URL) as service:
        result = run("sh", "-c", command(language.generator, service.url), folder=folder, **variables)
        yield Generated(language, service, variables, result)


@pytest.fixture(scope="session")
def checked(generated: Generated) -> Result:
    return generated.run(*generated.language.check)


@pytest.fixture(scope="session")
def results(generated: Generated, checked: Result) -> Any:
    ended = generated.run(*generated.language.run, generated.service.url, PROJECT)
    assert ended.returncode == 0, ended.stderr
    return orjson.loads(ended.stdout)
