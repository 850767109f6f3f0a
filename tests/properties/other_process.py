"""Another process that writes to the catalog, as the commands do while the service runs."""

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Concatenate, ParamSpec, TypeVar, cast

from app.catalog.engines import open_catalog
from app.catalog.transfer import import_images
from tests.support.images import Fields, stored_images

P = ParamSpec("P")
T = TypeVar("T")


class OtherProcess:
    """The other process."""

    def __init__(self, catalog: str) -> None:
        context = get_context("spawn")
        self._pipe, child_end = context.Pipe()
        self._process = context.Process(target=_work, args=(child_end, catalog), daemon=True)
        self._process.start()
        child_end.close()

    def __call__(self, function: Callable[Concatenate[str, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function there with the catalog's location, and return its result."""
        self._pipe.send((function, args, kwargs))
        assert self._pipe.poll(20), "the other process does not respond"
        return cast("T", self._pipe.recv())

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(20)


def _work(pipe: Connection, catalog: str) -> None:
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except EOFError:
            return
        pipe.send(function(catalog, *args, **kwargs))


def write(catalog: str, images: Sequence[Fields], *, owner: str | None, prune: bool) -> None:
    import_images(open_catalog(catalog), stored_images(*images), owner=owner, prune=prune, tombstone_days=30)
