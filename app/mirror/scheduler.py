"""How a mirror runs: one for a catalog, pass after pass, and with patience while the image service is away."""

import fcntl
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from app.catalog.sqlite.database import translate_errors
from app.errors import DomainError
from app.mirror.status import sidecar_path
from app.mirror.sync import Mirror, SyncFailed, SyncReport

_MAX_BACKOFF_SECONDS = 300  # seconds, between attempts at an image service that is away


class MirrorAlreadyRunning(DomainError):
    """Another mirror copies into the catalog."""

    def __init__(self, catalog: Path) -> None:
        super().__init__(f"Another mirror copies into {catalog} already.")


@contextmanager
def single_instance(catalog: Path) -> Iterator[None]:
    """Keep other mirrors from a catalog until the end of the block, however that comes.

    Raises OtherMirror, and CatalogUnavailable where there is no writing beside the catalog.
    """
    with _lock_of(catalog) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MirrorAlreadyRunning(catalog) from None
        yield


def _lock_of(catalog: Path) -> TextIO:
    with translate_errors(catalog):
        catalog.parent.mkdir(parents=True, exist_ok=True)
        return sidecar_path(catalog, "mirror-lock").open("w")


def run_forever(
    mirror: Mirror, *, every: float, whole_every: float, tell: Callable[[SyncReport | SyncFailed], None]
) -> None:
    """Make a pass every so many seconds, and one over all images every so many; after a failure, wait longer each time.

    It never ends. Raises what a pass raises that no other would do better than.
    """
    failures = 0
    while True:
        began = time.monotonic()
        last_whole = mirror.last_whole
        try:
            tell(mirror.make_pass(whole=last_whole is None or time.time() - last_whole >= whole_every))
        except SyncFailed as error:
            failures += 1
            tell(error)
        else:
            failures = 0
        time.sleep(max(0.0, began + backoff(every, failures) - time.monotonic()))


def backoff(every: float, failures: int) -> float:
    """Give the seconds from the begin of a pass to that of the next, after so many failures in a row.

    They grow up to five minutes, unless it is longer as a rule. Up to half of it is added by chance: mirrors of a cloud
    that comes back do not all come at once.
    """
    if failures == 0:
        return every
    longer = max(every, min(_MAX_BACKOFF_SECONDS, every * 2.0 ** min(failures, 16)))
    return random.uniform(longer, longer * 1.5)  # noqa: S311 nothing is to be kept secret
