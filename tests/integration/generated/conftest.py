"""Clients generated from the contract of a running service, with the commands in README.md."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from app.resources import resource_path
from tests.integration.server.service import Service, run_slow, serving
from tests.support.images import catalog_of, image
from tests.support.npm import modules
from tests.support.packages import Missing, environment
from tests.unit.test_readme import README

PYPI = (
    "openapi-python-client==0.29.1",
    "openapi-generator-cli==7.26.0",  # contains openapi-generator itself, which its package on npm would download
    *("mypy==2.4.1", "pydantic==2.14.4", "python-dateutil==2.9.0.post0", "urllib3==2.8.0"),
)
NPM = (
    "openapi-typescript@7.13.0",
    "openapi-fetch@0.17.0",
    "@hey-api/openapi-ts@0.95.0",  # the latest that supports Node.js 20
    "swagger-typescript-api@13.13.0",
    "typescript@5.9.3",  # the latest that openapi-typescript supports
    "@types/node@20.19.43",
)

SCRIPTS = Path(__file__).parent / "scripts"
SERVICE = "http://127.0.0.1:8774"  # as README.md has it

# In this service, the examples of the contract are the responses.
SETTINGS = {
    "IMAGES_COMPUTE_URL": "http://openstack.example.com",
    "IMAGES_GLANCE_URL": "http://glance.openstack.example.com",
}
SAMPLE = orjson.loads(resource_path("data/list-images-details.json").read_bytes())["images"]
PROJECT, OTHER = "openstack", "2" * 32
OWN = image(
    1,
    name="own",
    owner=OTHER,
    visibility="private",
    created="2021-01-01T00:00:00Z",
    updated="2021-01-01T00:00:00Z",
    minRam=512,
    minDisk=10,
    metadata={"instance_uuid": "a-server", "ramdisk_id": None},
    **{"OS-EXT-IMG-SIZE:size": 5_000_000_000},
)

TIMEOUT = 100  # seconds

Result = subprocess.CompletedProcess[str]


class Generator(NamedTuple):
    """A generator, by its command in README.md, and how programs that use its client are checked."""

    command: str
    program: str  # a file in `scripts`
    check: tuple[str, ...]  # checks the types of the client and of programs
    snippet: str | None = None  # the language of a program in README.md


_MYPY = ("mypy", "--strict", "--no-error-summary")
# Checking the declarations of dependencies would double the time.
_TSC = ("tsc", "--strict", "--noUncheckedIndexedAccess", "--skipLibCheck", "--target", "es2022", "--module", "nodenext")

GENERATORS = [
    Generator(
        "openapi-python-client",
        "openapi_python_client.py",
        (*_MYPY, "compute-images-client/compute_images_client"),
        "py",
    ),
    Generator("openapi-generator-cli", "openapi_generator.py", _MYPY),
    Generator("openapi-typescript", "openapi_fetch.mts", (*_TSC, "--exactOptionalPropertyTypes"), "ts"),
    Generator("@hey-api/openapi-ts", "hey_api.ts", _TSC),
    Generator("swagger-typescript-api", "swagger_typescript_api.ts", _TSC),
]


class Generated(NamedTuple):
    """A generated client, in the folder of the service that it was generated from."""

    service: Service
    variables: dict[str, str]
    result: Result  # of the generator
    programs: tuple[str, ...]
    check: tuple[str, ...]

    def run(self, *command: str) -> Result:
        """Run a command with the tools of the client."""
        return run_slow(command, self.service.folder, self.variables, timeout=TIMEOUT)

    def run_program(self, file: str, *arguments: str) -> str:
        """Return the output of a program, which has to succeed."""
        command = ("python", file) if file.endswith(".py") else ("node", f"{file.removesuffix('ts')}js")
        ended = self.run(*command, *arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def _command(generator: str, url: str) -> str:
    """Return the command in README.md, with the URL of the running service."""
    (line,) = (line for line in README.splitlines() if f" {generator} " in line and SERVICE in line)
    return line.replace(SERVICE, url)


def _tools(folder: Path) -> dict[str, str]:
    """Install all tools, and return the environment of commands. Raises Missing."""
    (folder / "node_modules").symlink_to(modules(*NPM))
    path = [str(environment(*PYPI) / "bin"), "node_modules/.bin", os.environ["PATH"]]
    clients = os.pathsep.join(("compute-images-client", "compute-images-api"))
    return {
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": clients,
        "MYPYPATH": clients,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_QUIET": "1",
        "NPM_CONFIG_UPDATE_NOTIFIER": "false",
    }


@pytest.fixture(scope="session", params=GENERATORS, ids=lambda generator: generator.command)
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    generator: Generator = request.param
    folder = tmp_path_factory.mktemp("generated")
    try:
        variables = _tools(folder)
    except Missing as missing:
        pytest.skip(str(missing))
    if generator.command == "openapi-generator-cli" and not shutil.which("java"):
        pytest.skip("Missing: java.")
    shutil.copy(SCRIPTS / generator.program, folder)
    programs = [generator.program]
    if generator.snippet:
        programs.append(f"snippet{Path(generator.program).suffix}")
    with serving(folder, workers=1, IMAGES_CATALOG=str(catalog_of(folder, *SAMPLE, OWN)), **SETTINGS) as service:
        for program in programs[1:]:
            (snippet,) = re.findall(rf"^```{generator.snippet}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
            (folder / program).write_text(snippet.replace(SERVICE, service.url))
        command = ("sh", "-c", _command(generator.command, service.url))
        result = run_slow(command, folder, variables, timeout=TIMEOUT)
        yield Generated(service, variables, result, tuple(programs), (*generator.check, *programs))


@pytest.fixture(scope="session")
def checked(generated: Generated) -> Result:
    return generated.run(*generated.check)


@pytest.fixture(scope="session")
def listed(generated: Generated, checked: Result) -> list[str]:
    """Return the output of the program in README.md, if it has one for this client."""
    return [generated.run_program(program) for program in generated.programs[1:]]


@pytest.fixture(scope="session")
def results(generated: Generated, listed: list[str]) -> Any:
    """Return the results of all calls, the last of which deletes the image that the program in README.md lists."""
    output = generated.run_program(generated.programs[0], generated.service.url, PROJECT, SAMPLE[0]["id"], OTHER)
    return orjson.loads(output.replace("+00:00", "Z"))  # another spelling of the same time
