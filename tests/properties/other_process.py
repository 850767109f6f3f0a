"""Another process that writes to the catalog, as the commands do while the service runs."""

from collections.abc import Callable, Sequence
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

from sqlite_utils import Database

from app.catalog.engines import open_catalog
from app.catalog.transfer import import_images
from tests.support.images import Fields, stored_images

P = ParamSpec("P")
T = TypeVar("T")


class OtherProcess:
    """The other process."""

    def __init__(self, catalog: Path) -> None:
        context = get_context("spawn")
        self._pipe, child_end = context.Pipe()
        self._process = context.Process(target=_work, args=(child_end, catalog), daemon=True)
        self._process.start()
        child_end.close()

    def __call__(self, function: Callable[Concatenate[Path, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function there with the catalog's path, and return its result."""
        self._pipe.send((function, args, kwargs))
        assert self._pipe.poll(20), "the other process does not respond"
        return cast("T", self._pipe.recv())

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(20)


def _work(pipe: Connection, catalog: Path) -> None:
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except EOFError:
            return
        pipe.send(function(catalog, *args, **kwargs))


def write(catalog: Path, images: Sequence[Fields], *, owner: str | None, prune: bool) -> None:
    import_images(open_catalog(catalog), stored_images(*images), owner=owner, prune=prune, tombstone_days=30)


def empty(catalog: Path) -> None:
    with closing(Database(catalog)) as db, db.conn:
        for table in ("image_index", "image_members", "images", "tokens"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608 no user input
