"""The oldest psycopg that the extra `postgres` allows. The other tests use the newest one, which pip installs."""

import re
import subprocess
import sys
import tomllib
from functools import partial

import pytest

from tests.integration.server.service import environment as service_environment
from tests.support.checkout import CHECKOUT
from tests.support.packages import environment
from tests.support.tether import tethered

EXTRA = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["postgres"]
OLDEST = re.sub(r">=([\d.]+),.*", r"==\1.0", EXTRA[0])
TESTS = ("engine", "reader", "tokens", "backup")

pytestmark = pytest.mark.external(install=[partial(environment, OLDEST)])


def test_oldest_psycopg_passes_the_tests_of_the_catalog() -> None:
    (packages,) = environment(OLDEST).glob("lib/python3*/site-packages")
    variables = service_environment(PYTHONPATH=str(packages))
    version = [sys.executable, "-c", "import psycopg; print('psycopg[binary]==' + psycopg.__version__)"]
    found = subprocess.run(version, env=variables, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == OLDEST
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "postgresql"]
    command = tethered([*pytest_, *(f"tests/unit/catalog/test_{name}.py" for name in TESTS)])
    ended = subprocess.run(command, cwd=CHECKOUT, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
