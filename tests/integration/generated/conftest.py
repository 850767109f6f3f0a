"""Clients generated from the contract of a running service, by the commands that the README shows."""

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
from tests.test_readme import README, SERVICE

PYPI = ("openapi-python-client==0.29.1", "mypy==2.4.1")
NPM = (
    "openapi-typescript@7.13.0",
    "openapi-fetch@0.17.0",
    "typescript@5.9.3",  # the newest that openapi-typescript takes
    "@types/node@20.19.43",
)

SCRIPTS = Path(__file__).parent / "scripts"

COMPUTE_URL = "https://compute.example.com"
TENANT, OTHER = "1" * 32, "2" * 32

IMAGES = [
    image(
        1,
        name="own",
        owner=TENANT,
        created="2021-01-01T00:00:00Z",
        updated="2021-01-01T00:00:00Z",
        minRam=512,
        minDisk=10,
        metadata={"instance_uuid": "a-server", "ramdisk_id": None},
        **{"OS-EXT-IMG-SIZE:size": 5_000_000_000},
    ),
    image(2, owner=OTHER),
    image(3, owner=TENANT, status="SAVING", progress=50, created="2019-01-01T00:00:00Z"),
]

Ended = subprocess.CompletedProcess[str]


class Language(NamedTuple):
    """How a client is generated in a language, and used."""

    generator: str  # what the README calls
    says: str  # all that it says, when it has nothing to complain of
    tools: Callable[[Path], dict[str, str]]  # put into a folder, and into the environment
    operations: Callable[[Path], list[str]]  # that the generated client has
    check: tuple[str, ...]  # the client's types, and those of a program that uses them
    talk: tuple[str, ...]  # the same program, run


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
        ("mypy", "--strict", "--no-error-summary", "compute-images-client/compute_images_client", "conversation.py"),
        ("python", "conversation.py"),
    ),
    "TypeScript": Language(
        "openapi-typescript",
        f"✨ {NPM[0].replace('@', ' ')}\n" + "🚀 {url}/openapi.json → compute-images.ts\n",
        _npm_tools,
        _typescript_operations,
        (
            *("node_modules/.bin/tsc", "--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"),
            "--skipLibCheck",  # what others declare is theirs to check, and takes as long again
            *("--target", "es2022", "--module", "nodenext", "conversation.mts"),
        ),
        ("node", "conversation.mjs"),
    ),
}


class Generated(NamedTuple):
    """A generated client, in a folder with what generated it and a program that uses it."""

    language: Language
    service: Service
    variables: dict[str, str]
    url: str
    said: Ended

    @property
    def expected(self) -> str:
        """What the generator says, when it has nothing to complain of."""
        return self.language.says.format(folder=self.service.folder, url=self.url)

    @property
    def operations(self) -> list[str]:
        """The names of what it has a function or a type for."""
        return self.language.operations(self.service.folder)

    def run(self, *command: str) -> Ended:
        """Run a command with its tools."""
        return run(*command, folder=self.service.folder, **self.variables)


def command(generator: str, url: str) -> str:
    """Give the README's command, with the URL of the service that runs."""
    (line,) = (line for line in README.splitlines() if line.startswith("    ") and f" {generator} " in line)
    return line.strip().replace(SERVICE, url)


@pytest.fixture(scope="session", params=LANGUAGES)
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    """Generate a client from the contract that a running service of its own serves."""
    language = LANGUAGES[request.param]
    folder = tmp_path_factory.mktemp("generated")
    try:
        variables = language.tools(folder)
    except Missing as missing:
        pytest.skip(str(missing))
    for script in SCRIPTS.glob("conversation.*"):
        shutil.copy(script, folder)
    catalog = catalog_of(folder, *IMAGES)
    with serving(folder, IMAGES_CATALOG=str(catalog), IMAGES_COMPUTE_URL=COMPUTE_URL) as service:
        url = f"http://127.0.0.1:{service.port}"
        said = run("sh", "-c", command(language.generator, url), folder=folder, **variables)
        yield Generated(language, service, variables, url, said)


@pytest.fixture(scope="session")
def checked(generated: Generated) -> Ended:
    """Check the types of the client and of the program."""
    return generated.run(*generated.language.check)


@pytest.fixture(scope="session")
def answers(generated: Generated, checked: Ended) -> Any:
    """Run the program, and give what it made of the service's answers."""
    ended = generated.run(*generated.language.talk, generated.url, TENANT)
    assert ended.returncode == 0, ended.stderr
    return orjson.loads(ended.stdout)
