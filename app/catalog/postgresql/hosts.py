"""Connecting to the primary, whichever of several hosts it is."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Event, Thread

from app.catalog.errors import CatalogUnavailable
from app.catalog.postgresql.database import Connection

_RETRY_INTERVAL = 0.2  # seconds between attempts to connect to the same host

_Result = tuple[int, Connection | CatalogUnavailable]


def connect_to_first(attempts: Sequence[Callable[[], Connection]]) -> Connection:
    """Return the connection of the first attempt that succeeds. There is one for each host, and all run concurrently.

    So a host that drops packets does not delay the connection to another one. A failed attempt is repeated until each
    host has failed at least once, so that a standby that is promoted meanwhile is found. Raises CatalogUnavailable.
    """
    results, is_over = SimpleQueue[_Result](), Event()
    for number, attempt in enumerate(attempts):
        # Not in an executor: its shutdown would wait for the threads, and looking up a host name has no timeout.
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
    # An error of a primary, which has a more specific type, is more useful than that of a standby or unreachable host.
    raise next((error for error in errors.values() if type(error) is not CatalogUnavailable), errors[0])


def _repeat(number: int, attempt: Callable[[], Connection], results: "SimpleQueue[_Result]", is_over: Event) -> None:
    """Repeat an attempt until it succeeds or `is_over` is set. A connection that is made too late is closed."""
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
