"""A machine on which the service is installed."""

from collections.abc import Iterator

import pytest

from tests.integration.deployment.machine import Machine
from tests.integration.deployment.recipes import files, scripts, section
from tests.support.packages import Missing


@pytest.fixture(scope="package")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Start a machine that has run the steps that install the service, of which systemd and containers share some."""
    try:
        machine = Machine(tmp_path_factory.mktemp("deployment"))
    except Missing as error:
        pytest.skip(str(error))
    deployment = section("Deployment")
    image = [line.removeprefix("RUN ") for line in files(deployment)["Containerfile"].splitlines() if "RUN " in line]
    with machine:
        for step in dict.fromkeys([*scripts(deployment)[0].splitlines(), *image]):
            machine.run(step)
        # Compile the modules here, where they can be stored.
        machine.run("cd /opt/compute-images/bin; ./compute-images --version; ./python -c 'import app.server.gunicorn'")
        yield machine
