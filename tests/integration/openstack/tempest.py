"""Tempest, OpenStack's own acceptance suite, as it is published: in a process and an environment of its own."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from tests.integration.clients.processes import PINS
from tests.integration.server.service import session
from tests.support.packages import environment

_PATIENCE = 100  # seconds; Tempest itself is less patient with an image

# It makes projects and people for itself, and takes away those that it made. Unless it is told of microversions, it
# asks for none.
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
_SNAPSHOT = "OS_COMPUTE-FEATURE-ENABLED__SNAPSHOT"  # how the environment says what a file does in a section

_CONTENT = re.compile(r"^Ran (\d+) tests? in .*\n\nOK(?: \(skipped=(\d+)\))?$", re.MULTILINE)


class Met(NamedTuple):
    """How many tests were met, and how many of them were left out."""

    tests: int
    left_out: int = 0


class Tempest:
    """A Tempest that tries a cloud."""

    def __init__(self, folder: Path, administrator: dict[str, Any], image: str, other_image: str) -> None:
        """Install it, unless it was installed before, and tell it of two images that all see. Raises Missing."""
        self._python = environment(*PINS["tempest"]) / "bin" / "python"
        self._folder = folder
        configuration = _CONFIGURATION.format(folder=folder, image=image, other_image=other_image, **administrator)
        (folder / "tempest.conf").write_text(configuration)

    def run(self, tests: str, *, snapshots: bool) -> Met:
        """Run some of its tests of Compute's images, which are to pass; with those for clouds that have snapshots."""
        log = self._folder / f"{tests}.log"
        command = (str(self._python), "-m", "unittest", f"tempest.api.compute.images.{tests}")
        told = {"TEMPEST_CONFIG_DIR": str(self._folder), _SNAPSHOT: str(snapshots)}
        variables = {"HOME": str(self._folder), "NO_PROXY": "127.0.0.1"} | told
        with log.open("wb") as output, session(command, self._folder, variables, output=output.fileno()) as process:
            process.wait(_PATIENCE)
        met = _CONTENT.search(log.read_text())
        assert met, log.read_text()
        return Met(*(int(count or 0) for count in met.groups()))
