"""How a mirror runs: one for a catalog, pass after pass, and with patience while the image service is away."""

import fcntl
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from app.catalog.file import as_unavailable
from app.faults import DomainError
from app.freshness import beside
from app.mirror.passes import Mirror, PassFailed, Report

_LONGEST = 300  # seconds, between attempts at an image service that is away


class OtherMirror(DomainError):
    """Another mirror copies into the catalog."""

    def __init__(self, catalog: Path) -> None:
        super().__init__(f"Another mirror copies into {catalog} already.")


@contextmanager
def alone(catalog: Path) -> Iterator[None]:
    """Keep other mirrors from a catalog until the end of the block, however that comes.

    Raises OtherMirror, and CatalogUnavailable where there is no writing beside the catalog.
    """
    with _lock_of(catalog) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OtherMirror(catalog) from None
        yield


def _lock_of(catalog: Path) -> TextIO:
    with as_unavailable(catalog):
        catalog.parent.mkdir(parents=True, exist_ok=True)
        return beside(catalog, "mirror-lock").open("w")


def keep_copying(
    mirror: Mirror, *, every: float, whole_every: float, tell: Callable[[Report | PassFailed], None]
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
        except PassFailed as error:
            failures += 1
            tell(error)
        else:
            failures = 0
        time.sleep(max(0.0, began + pause(every, failures) - time.monotonic()))


def pause(every: float, failures: int) -> float:
    """Give the seconds from the begin of a pass to that of the next, after so many failures in a row.

    They grow up to five minutes, unless it is longer as a rule. Up to half of it is added by chance: mirrors of a cloud
    that comes back do not all come at once.
    """
    if failures == 0:
        return every
    longer = max(every, min(_LONGEST, every * 2.0 ** min(failures, 16)))
    return random.uniform(longer, longer * 1.5)  # noqa: S311 nothing is to be kept secret
