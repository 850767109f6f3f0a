"""A replica of Glance's images, the process that mirrors them, and the images that the replica should have."""

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson
from click.testing import CliRunner

from app.catalog.documents import dump_images
from app.catalog.engines import open_catalog
from app.catalog.transfer import export_images
from app.cli import main
from tests.integration.openstack.images import Images
from tests.integration.server.service import COMMAND, environment, session, until
from tests.support.images import Fields

_TIMEOUT = 20  # seconds

# Glance's base properties.
_BASE_PROPERTIES = {
    *("id", "name", "owner", "visibility", "status", "created_at", "updated_at", "min_disk", "min_ram", "size"),
    *("checksum", "container_format", "direct_url", "disk_format", "file", "locations", "os_hash_algo"),
    *("os_hash_value", "os_hidden", "protected", "schema", "self", "stores", "tags", "virtual_size"),
}
_STATUSES = {
    "active": ("ACTIVE", 100),
    "queued": ("SAVING", 25),
    "saving": ("SAVING", 50),
    "killed": ("ERROR", 0),
    "pending_delete": ("DELETED", 0),
}


def expected_images(images: Images) -> dict[str, Fields]:
    """Return what a replica should have of all images that a user can see, by id."""
    return {image["id"]: expected_image(image, _members(images, image)) for image in images.list_all()}


def expected_image(image: Fields, members: dict[str, str]) -> Fields:
    """Return what a replica should have of an image with these members and their statuses."""
    status, progress = _STATUSES.get(image["status"], ("UNKNOWN", 0))
    return {
        "id": image["id"],
        "name": image["name"],
        "status": status,
        "progress": progress,
        "created": image["created_at"],
        "updated": image["updated_at"],
        "minDisk": image["min_disk"],
        "minRam": image["min_ram"],
        "metadata": {name: value for name, value in image.items() if name not in _BASE_PROPERTIES},
        "OS-EXT-IMG-SIZE:size": image["size"],
        "owner": image["owner"],
        "visibility": image["visibility"],
        "members": sorted(project for project, status in members.items() if status == "accepted"),
        "pending_members": sorted(project for project, status in members.items() if status != "accepted"),
        "os_hidden": image["os_hidden"],
    }


def _members(images: Images, image: Fields) -> dict[str, str]:
    return images.members(image["id"]) if image["visibility"] == "shared" else {}


class MirrorProcess:
    """A running mirror."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def lines(self) -> list[str]:
        """Return the lines that it has written."""
        return self._log.read_text().splitlines()

    def await_syncs(self, count: int = 1, *, matching: str = "") -> None:
        """Wait until it has reported this many more syncs, in lines that match a regular expression."""
        before = self._count(matching)
        until(lambda: self._count(matching) >= before + count or self.process.poll() is not None)
        assert self.process.poll() is None, self.lines

    def terminate(self) -> int:
        """Send SIGTERM, and return the exit code."""
        self.process.terminate()
        return self.process.wait(_TIMEOUT)

    def _count(self, pattern: str) -> int:
        return len([line for line in self.lines if re.search(pattern, line)])


class Replica:
    """A catalog in a folder of its own, which replicates what a user sees in Glance."""

    def __init__(self, folder: Path, variables: dict[str, Any]) -> None:
        self.folder = folder
        self.catalog = folder / "catalog.db"
        self.variables = {"IMAGES_CATALOG": str(self.catalog), "HOME": str(folder)} | variables

    def sync_once(self, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run `mirror --once`."""
        return self.run("mirror", "--once", **variables)

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in this process: the start of another one would take longer than a sync."""
        unset = dict.fromkeys(os.environ.keys() - environment().keys())
        ended = CliRunner().invoke(main, command, env={**unset, **self.variables, **variables})
        return subprocess.CompletedProcess(command, ended.exit_code, ended.stdout, ended.stderr)

    def sync(self) -> None:
        """Run a mirror for one full sync, which has to succeed."""
        result = self.sync_once()
        assert result.returncode == 0, result.stderr

    @contextmanager
    def mirrored(self, *options: str, **variables: str) -> Iterator[MirrorProcess]:
        """Run a mirror until the end of the block at the latest."""
        log = self.folder / "mirror.log"
        command = (COMMAND, "mirror", *options)
        with (
            log.open("wb") as output,
            session(command, self.folder, self.variables | variables, output=output.fileno()) as process,
        ):
            yield MirrorProcess(process, log)

    def images(self) -> dict[str, Fields]:
        """Return its images by id, without tombstones."""
        return {image["id"]: image for image in self._exported() if image["status"] != "DELETED"}

    def tombstones(self) -> dict[str, Fields]:
        """Return its tombstones by id."""
        return {image["id"]: image for image in self._exported() if image["status"] == "DELETED"}

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check that nothing is written to the catalog until the end of the block."""
        with closing(sqlite3.connect(f"{self.catalog.as_uri()}?mode=ro", uri=True)) as reader:
            before = _version(reader)
            yield
            assert _version(reader) == before

    def _exported(self) -> list[Fields]:
        images = export_images(open_catalog(self.variables["IMAGES_CATALOG"]), deleted=True)
        return list(orjson.loads(b"".join(dump_images(images)))["images"])


def _version(reader: sqlite3.Connection) -> int:
    """Return SQLite's data version, which changes with each write by another process."""
    return int(reader.execute("PRAGMA data_version").fetchone()[0])
