"""Catalogs of the measured sizes, which are created once and stored in a folder."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlite_utils import Database

from app.catalog.engines import open_catalog
from app.catalog.transfer import ensure_catalog
from app.resources import resource_path
from tests.bench import BenchError
from tests.integration.server.service import COMMAND, environment
from tests.support import generator

SAMPLE, PAGE = 7, 1000  # images in a response: the documented sample, and a full page
MANY = 10_000  # images in a catalog with many pages
_ORDER = "created DESC, sequence"  # of a list
_BATCH_SIZE = 100_000  # images in a file


class Catalogs:
    """Cached catalogs: one for each size, version of the tables, and version of the code that generates images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def public(self, size: int) -> Path:
        """Return a catalog of which everyone can list so many images: all are public."""
        if size == SAMPLE:
            return self.cached(
                "sample", lambda catalog: import_file(catalog, resource_path("data/list-images-details.json"))
            )
        images = [image | {"visibility": "public"} for image in generator.images(size)]
        return self.cached(f"public-{size}", lambda catalog: import_images(catalog, images))

    def indexed(self, size: int) -> Path:
        """Return a public catalog for other servers, which has an index in the order of a list."""

        def create(catalog: Path) -> None:
            copy(self.public(size), catalog.parent)
            Database(catalog).execute(f"CREATE INDEX images_in_order ON images ({_ORDER})")

        return self.cached(f"indexed-{size}", create)

    def shared(self, size: int) -> Path:
        """Return a catalog of so many images, which some projects own and share."""
        return self.cached(str(size), lambda catalog: import_images(catalog, generator.images(size)))

    def cached(self, name: str, create: Callable[[Path], object], source: str = generator.__file__) -> Path:
        """Return a stored catalog. It is created again if the tables or the code that generates images change."""
        path = self.folder / f"{name}-{_fingerprint(Path(source))}" / "catalog.db"
        if not path.exists():
            with TemporaryDirectory(dir=self.folder) as folder:
                create(Path(folder) / path.name)
                path.parent.mkdir(exist_ok=True)
                (Path(folder) / path.name).rename(path)  # so that it appears when it is complete
        return path


def _fingerprint(source: Path) -> str:
    """Return a digest that changes with the tables, and with the code that generates images."""
    with TemporaryDirectory() as folder:
        empty = Path(folder) / "catalog.db"
        ensure_catalog(open_catalog(empty), list, tombstone_days=30)
        tables = Database(empty).schema
    return hashlib.sha256(tables.encode() + source.read_bytes()).hexdigest()[:12]


def markers(catalog: Path) -> list[str]:
    """Return the ids of all images in the order of a list."""
    database = Database(catalog)
    ids = [row["id"] for row in database.table("images").rows_where(select="id", order_by=_ORDER)]
    database.close()
    return ids


def import_images(catalog: Path, images: Iterable[generator.Document]) -> float:
    """Import images with the command, from one or more files. Return how many seconds the command ran."""
    seconds = 0.0
    pending = iter(images)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "images.json"
        while batch := list(islice(pending, _BATCH_SIZE)):
            file.write_text(json.dumps({"images": batch}))
            seconds += import_file(catalog, file)
    return seconds


def import_file(catalog: Path | str, file: Path) -> float:
    """Import a file with the command. Return how many seconds it ran."""
    os.sync()  # or the command would wait for what the benchmark itself wrote
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
    """Copy a catalog that no process has open."""
    return Path(shutil.copy(catalog, folder / catalog.name))
