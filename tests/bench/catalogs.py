"""Catalogs of the sizes that are measured, made once and kept in a folder."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlite_utils import Database

from app.catalog.transfer import ensure_catalog
from app.resources import resource_path
from tests.bench import BenchError
from tests.integration.server.service import COMMAND, environment
from tests.support import generator

SAMPLE, PAGE = 7, 1000  # images in an answer: the documented sample, and as many as a page holds
_AT_ONCE = 100_000  # images in a file


class Catalogs:
    """The catalogs in a folder: one for each size, and for each way that they were ever made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def answering(self, size: int) -> Path:
        """Give a catalog from which everyone is answered with so many images: all are public."""
        if size == SAMPLE:
            return self._kept(
                "sample", lambda catalog: import_file(catalog, resource_path("data/list-images-details.json"))
            )
        images = [image | {"visibility": "public"} for image in generator.images(size)]
        return self._kept(f"public-{size}", lambda catalog: import_images(catalog, images))

    def holding(self, size: int) -> Path:
        """Give a catalog of so many images, which some projects own and share."""
        return self._kept(str(size), lambda catalog: import_images(catalog, generator.images(size)))

    def _kept(self, name: str, make: Any) -> Path:
        path = self.folder / f"{name}-{self._fingerprint()}" / "catalog.db"
        if not path.exists():
            with TemporaryDirectory(dir=self.folder) as folder:
                make(Path(folder) / path.name)
                path.parent.mkdir(exist_ok=True)
                (Path(folder) / path.name).rename(path)  # whoever finds it, finds all of it
        return path

    def _fingerprint(self) -> str:
        """Tell apart what other tables, or another generator, made."""
        with TemporaryDirectory() as folder:
            empty = Path(folder) / "catalog.db"
            ensure_catalog(empty, list)
            tables = Database(empty).schema
        return hashlib.sha256(tables.encode() + Path(generator.__file__).read_bytes()).hexdigest()[:12]


def import_images(catalog: Path, images: Iterable[generator.Document]) -> float:
    """Import images through the command, some files after each other. Give how many seconds the command ran."""
    seconds = 0.0
    waiting = iter(images)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "images.json"
        while some := list(islice(waiting, _AT_ONCE)):
            file.write_text(json.dumps({"images": some}))
            seconds += import_file(catalog, file)
    return seconds


def import_file(catalog: Path, file: Path) -> float:
    """Import a file through the command. Give how many seconds it ran."""
    os.sync()  # what the benchmark itself wrote: the command is not to wait for that
    begin = time.perf_counter()
    done = subprocess.run(
        [COMMAND, "import", str(file)],
        env=environment(IMAGES_CATALOG=str(catalog)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(done.stderr)
    return time.perf_counter() - begin


def copy(catalog: Path, folder: Path) -> Path:
    """Copy a catalog that nobody has open."""
    return Path(shutil.copy(catalog, folder / catalog.name))
