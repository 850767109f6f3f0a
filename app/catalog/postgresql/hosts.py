"""Connecting to the primary, whichever of several hosts it is."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Event, Thread

from app.catalog.errors import CatalogUnavailable
from app.catalog.postgresql.database import Connection

_RETRY_INTERVAL = 0.2  # seconds between attempts to connect to the same host

_Result = tuple[int, Connection | CatalogUnavailable]


def connect_to_first(attempts: Sequence[Callable[[], Connection]]) -> Connection:
    """Return the connection of the first attempt that succeeds. All are made at the same time, one for each host.

    A host that drops packets then does not delay the connection to another one. An attempt that fails is repeated until
    each of them has failed, so that a standby is found as soon as it is promoted. Raises CatalogUnavailable.
    """
    results, is_over = SimpleQueue[_Result](), Event()
    for number, attempt in enumerate(attempts):
        # Not in an executor, whose end waits for the threads: looking up a host name has no deadline.
        Thread(target=_repeat, args=(number, attempt, results, is_over), name="catalog-host", daemon=True).start()
    errors: dict[int, CatalogUnavailable] = {}
    try:
        while len(errors) < len(attempts):
            number, result = results.get()
            if isinstance(result, Connection):
                return result
            errors[number] = result
    finally:
        is_over.set()
    # That a standby is read-only, or that a host cannot be reached, says less than the error of a primary.
    raise next((error for error in errors.values() if type(error) is not CatalogUnavailable), errors[0])


def _repeat(number: int, attempt: Callable[[], Connection], results: "SimpleQueue[_Result]", is_over: Event) -> None:
    """Make an attempt until it succeeds, or until it is over."""
    result: Connection | CatalogUnavailable | None = None
    while not (isinstance(result, Connection) or is_over.wait(_RETRY_INTERVAL if result else 0)):
        try:
            result = attempt()
        except CatalogUnavailable as error:
            result = error
        if isinstance(result, Connection) and is_over.is_set():
            result.close()
        else:
            results.put((number, result))
