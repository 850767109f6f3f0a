"""A copy of Glance's images in a catalog: what mirrors it, what it holds, and what it should hold."""

import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson

from tests.integration.openstack.images import Images
from tests.integration.server.service import COMMAND, run, session, until
from tests.support.images import Fields

_PATIENCE = 20  # seconds

# What Glance says of an image beside its properties.
_FIELDS = {
    *("id", "name", "owner", "visibility", "status", "created_at", "updated_at", "min_disk", "min_ram", "size"),
    *("checksum", "container_format", "direct_url", "disk_format", "file", "locations", "os_hash_algo"),
    *("os_hash_value", "os_hidden", "protected", "schema", "self", "stores", "tags", "virtual_size"),
}
_STATES = {"active": ("ACTIVE", 100), "queued": ("SAVING", 25), "saving": ("SAVING", 50), "killed": ("ERROR", 0)}


def truth(images: Images) -> dict[str, Fields]:
    """Tell what a copy should hold of all images that somebody sees, by their ids."""
    return {image["id"]: copy_of(image, _members(images, image)) for image in images.everything()}


def copy_of(image: Fields, members: list[str]) -> Fields:
    """Tell what a copy should hold of an image, and who shares it."""
    status, progress = _STATES.get(image["status"], ("UNKNOWN", 0))
    fields = {
        "id": image["id"],
        "name": image["name"],
        "status": status,
        "progress": progress,
        "created": image["created_at"],
        "updated": image["updated_at"],
        "minDisk": image["min_disk"],
        "minRam": image["min_ram"],
        "metadata": {name: value for name, value in image.items() if name not in _FIELDS},
        "visibility": image["visibility"],
        "members": members,
    }
    known = {"OS-EXT-IMG-SIZE:size": image["size"], "owner": image["owner"]}
    return fields | {name: value for name, value in known.items() if value is not None}


def _members(images: Images, image: Fields) -> list[str]:
    if image["visibility"] != "shared":
        return []
    return sorted(project for project, status in images.members(image["id"]).items() if status == "accepted")


class Mirror:
    """A running mirror, and what it said."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> list[str]:
        """The lines that it wrote."""
        return self._log.read_text().splitlines()

    def await_passes(self, count: int = 1, *, which: str = "") -> None:
        """Wait until it told of so many passes more, of those alone that it tells of with some words."""
        before = self._count(which)
        until(lambda: self._count(which) >= before + count or self.process.poll() is not None)
        assert self.process.poll() is None, self.said

    def terminate(self) -> int:
        """Ask it to stop, as a supervisor does, and give its exit code."""
        self.process.terminate()
        return self.process.wait(_PATIENCE)

    def _count(self, which: str) -> int:
        return len([line for line in self.said if re.search(which, line)])


class Copy:
    """A catalog in a folder of its own, which is a copy of what somebody sees in Glance."""

    def __init__(self, folder: Path, variables: dict[str, Any]) -> None:
        self.folder = folder
        self.catalog = folder / "catalog.db"
        self.variables = {"IMAGES_CATALOG": str(self.catalog), "HOME": str(folder)} | variables

    def once(self, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Have a mirror make one pass over all images."""
        return run(COMMAND, "mirror", "--once", folder=self.folder, **self.variables | variables)

    def fill(self) -> None:
        """Have a mirror make one pass over all images, which is to go well."""
        ended = self.once()
        assert ended.returncode == 0, ended.stderr

    @contextmanager
    def mirrored(self, *options: str, **variables: str) -> Iterator[Mirror]:
        """Have a mirror run until the end of the block at the latest."""
        log = self.folder / "mirror.log"
        command = (COMMAND, "mirror", *options)
        with (
            log.open("wb") as output,
            session(command, self.folder, self.variables | variables, output=output.fileno()) as process,
        ):
            yield Mirror(process, log)

    def images(self) -> dict[str, Fields]:
        """Give what it holds of the images, by their ids."""
        return {image["id"]: image for image in self._exported() if image["status"] != "DELETED"}

    def tombstones(self) -> dict[str, Fields]:
        """Give what it holds of the images that are gone, by their ids."""
        return {image["id"]: image for image in self._exported() if image["status"] == "DELETED"}

    @contextmanager
    def unwritten(self) -> Iterator[None]:
        """Check that nobody writes to the file until the end of the block."""
        with closing(sqlite3.connect(f"{self.catalog.as_uri()}?mode=ro", uri=True)) as reader:
            before = _version(reader)
            yield
            assert _version(reader) == before

    def _exported(self) -> list[Fields]:
        ended = run(COMMAND, "export", "--deleted", folder=self.folder, **self.variables)
        assert ended.returncode == 0, ended.stderr
        return list(orjson.loads(ended.stdout)["images"])


def _version(reader: sqlite3.Connection) -> int:
    """Give a number that is another one after the file was written to."""
    return int(reader.execute("PRAGMA data_version").fetchone()[0])
