"""Tempest, OpenStack's acceptance test suite, in a process and a virtual environment of its own."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from tests.integration.clients.processes import installed
from tests.integration.server.service import session

_TIMEOUT = 100  # seconds; longer than Tempest's own timeout for an image

# Tempest creates and deletes projects and users of its own. Without configuration, it uses no microversions.
_CONFIGURATION = """
[auth]
use_dynamic_credentials = true
create_isolated_networks = false
admin_username = {username}
admin_password = {password}
admin_project_name = {project_name}
admin_domain_name = Default
tempest_roles = member
[identity]
auth_version = v3
uri_v3 = {auth_url}
region = {region_name}
[identity-feature-enabled]
api_v2 = false
api_v3 = true
[service_available]
nova = true
glance = true
cinder = false
neutron = false
swift = false
horizon = false
[compute]
region = {region_name}
image_ref = {image}
image_ref_alt = {other_image}
flavor_ref = 1
[image]
build_timeout = 30
[oslo_concurrency]
lock_path = {folder}/locks
"""
_SNAPSHOT = "OS_COMPUTE-FEATURE-ENABLED__SNAPSHOT"  # a section and its option, as oslo.config reads them

_RESULT = re.compile(r"^Ran (\d+) tests? in .*\n\nOK(?: \(skipped=(\d+)\))?$", re.MULTILINE)


class Outcome(NamedTuple):
    """How many tests ran, and how many of them were skipped. None failed."""

    tests: int
    skipped: int = 0


class Tempest:
    """A Tempest for a cloud."""

    def __init__(self, folder: Path, administrator: dict[str, Any], image: str, other_image: str) -> None:
        """Install Tempest if need be, and configure it with two public images. Raises Missing."""
        self._python = installed("tempest") / "bin" / "python"
        self._folder = folder
        configuration = _CONFIGURATION.format(folder=folder, image=image, other_image=other_image, **administrator)
        (folder / "tempest.conf").write_text(configuration)

    def run(self, tests: str, *, snapshots: bool) -> Outcome:
        """Run some of the tests of Compute's images, which have to pass, with snapshots enabled or not."""
        log = self._folder / f"{tests}.log"
        command = (str(self._python), "-m", "unittest", f"tempest.api.compute.images.{tests}")
        settings = {"TEMPEST_CONFIG_DIR": str(self._folder), _SNAPSHOT: str(snapshots)}
        variables = {"HOME": str(self._folder), "NO_PROXY": "127.0.0.1"} | settings
        with log.open("wb") as output, session(command, self._folder, variables, output=output.fileno()) as process:
            process.wait(_TIMEOUT)
        result = _RESULT.search(log.read_text())
        assert result, log.read_text()
        return Outcome(*(int(count or 0) for count in result.groups()))
