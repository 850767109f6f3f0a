"""Runs of Schemathesis against the service, and their reports."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from app.contract.document import Contract
from tests.fuzz.report import FuzzedRequest, read_report
from tests.integration.openstack.cloud import ADMIN, OF_THE_FIRST_PROJECT, Cloud, as_variables
from tests.integration.openstack.conftest import cloud, keystone
from tests.integration.server.service import environment as variables
from tests.integration.server.service import serving
from tests.support.images import Fields, catalog_of, image
from tests.support.packages import Missing, environment
from tests.support.tether import tethered

__all__ = ["cloud", "keystone"]  # fixtures

PACKAGE = "schemathesis==4.32.5"

ROOT = Path(__file__).parent.parent.parent
CONFIGURATION = Path(__file__).parent / "schemathesis.toml"

# Options for a longer run, such as `--max-examples 2000 --seed 7`.
OPTIONS = shlex.split(os.environ.get("SCHEMATHESIS", ""))
TIMEOUT = None if OPTIONS else 100  # seconds

CONTRACT = Contract.load(secured=True).document
EXAMPLES = {name: parameter.get("example") for name, parameter in CONTRACT["components"]["parameters"].items()}
TOKEN_HEADER = CONTRACT["components"]["securitySchemes"]["token"]["name"]

PROJECT, OTHER = EXAMPLES["TenantId"], "2" * 32
METADATA = {EXAMPLES["Key"]: "nokernel"}

OWN: list[Fields] = [
    {"owner": PROJECT, "visibility": "private", "metadata": METADATA},
    {"owner": PROJECT, "name": "own", "metadata": METADATA | {"instance_uuid": "a-server", "image_type": "snapshot"}},
    {"owner": PROJECT, "visibility": "shared", "members": [OTHER], "metadata": METADATA},
]
FOREIGN: list[Fields] = [
    {"name": "without owner", "metadata": METADATA},
    {"owner": OTHER, "minRam": 512, "minDisk": 20},
    {"owner": OTHER, "visibility": "private", "metadata": METADATA},
    {"owner": OTHER, "visibility": "shared", "members": [PROJECT], "status": "SAVING", "progress": 50},
    {"owner": OTHER, "visibility": "community"},
    {"owner": PROJECT, "status": "DELETED", "progress": 0},
    {"owner": OTHER, "status": "DELETED", "progress": 0},
]
KINDS = [*OWN, *FOREIGN]
MANY = 500  # more than a run deletes
# The first has the id in the contract's examples.
IMAGES = [image(id=EXAMPLES["ImageId"], **KINDS[0]), *(image(n, **KINDS[n % len(KINDS)]) for n in range(1, MANY))]

PAGE = 5  # images


class Mode(NamedTuple):
    """A mode of authentication: the settings of the service, and tokens by the name of their user."""

    settings: dict[str, Any]
    tokens: dict[str, str]


def no_authentication(_catalog: Path, _request: pytest.FixtureRequest) -> Mode:
    return Mode({}, {})


def token_of_the_project(catalog: Path, _request: pytest.FixtureRequest) -> Mode:
    projects = {"project": PROJECT, "other project": OTHER}
    tokens = {
        name: add_token(open_catalog(catalog), project_id, is_admin=False, expires=None)
        for name, project_id in projects.items()
    }
    return Mode({"IMAGES_AUTH": "token"}, tokens)


def token_of_an_administrator(catalog: Path, _request: pytest.FixtureRequest) -> Mode:
    token = add_token(open_catalog(catalog), OTHER, is_admin=True, expires=None)
    return Mode({"IMAGES_AUTH": "token"}, {"administrator": token})


def token_of_keystones_administrator(_catalog: Path, request: pytest.FixtureRequest) -> Mode:
    cloud: Cloud = request.getfixturevalue("cloud")
    settings = {"IMAGES_AUTH": "keystone"} | as_variables(cloud.credentials())
    return Mode(settings, {"administrator": cloud.token(ADMIN, OF_THE_FIRST_PROJECT)})


MODES: dict[str, Callable[[Path, pytest.FixtureRequest], Mode]] = {
    "no token": no_authentication,
    "a project's token": token_of_the_project,
    "an administrator's token": token_of_an_administrator,
    "Keystone's token": token_of_keystones_administrator,
}


class Run(NamedTuple):
    """The result of a run, and the requests in its report."""

    mode: Mode
    code: int
    output: str
    requests: list[FuzzedRequest]


@pytest.fixture(scope="session")
def schemathesis() -> str:
    try:
        return str(environment(PACKAGE) / "bin" / "schemathesis")
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session", params=MODES)
def fuzzed(request: pytest.FixtureRequest, schemathesis: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("fuzzed")
    catalog = catalog_of(folder, *IMAGES)
    mode = MODES[request.param](catalog, request)
    _configure(folder, mode.tokens)
    with serving(folder, IMAGES_CATALOG=str(catalog), IMAGES_MAX_LIMIT=str(PAGE), **mode.settings) as service:
        url = f"http://127.0.0.1:{service.port}/openapi.yaml"
        ended = subprocess.run(
            tethered([schemathesis, "run", url, "--report-ndjson-path", "report.ndjson", *OPTIONS]),
            cwd=folder,
            env=variables(HOME=str(folder), PYTHONPATH=str(ROOT), NO_PROXY="127.0.0.1"),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    return Run(mode, ended.returncode, ended.stdout + ended.stderr, read_report(folder / "report.ndjson"))


def _configure(folder: Path, tokens: dict[str, str]) -> None:
    """Write the configuration and the data of a run into its working directory."""
    shutil.copy(CONFIGURATION, folder)
    own = [fields["id"] for fields in IMAGES if fields.get("owner") == PROJECT and fields["status"] != "DELETED"]
    (folder / "images.dict").write_text("".join(f'"{image_id}"\n' for image_id in own))
    if tokens:
        users = [{"name": name, "fixedHeaders": [{"name": TOKEN_HEADER, "value": tokens[name]}]} for name in tokens]
        (folder / "users.json").write_bytes(orjson.dumps({"auth": users}))
        with (folder / CONFIGURATION.name).open("a") as configuration:
            configuration.write(_users(*tokens))


def _users(caller: str, *others: str) -> str:
    """Return the configuration of users. The peers must not be able to access resources of the caller."""
    peers = f"peers = {[caller, *others]}\n" if others else ""
    return f"\n[auth.wfc]\npath = 'users.json'\nuser = '{caller}'\n{peers}"
