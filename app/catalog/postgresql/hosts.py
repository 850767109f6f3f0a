"""Connecting to the primary, whichever of several hosts it is."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Event, Thread

from app.catalog.errors import CatalogUnavailable
from app.catalog.postgresql.database import Connection

RETRY_INTERVAL = 0.2  # seconds between attempts to connect to the same host

Attempt = Callable[[], Connection]  # raises CatalogUnavailable
Outcome = Connection | CatalogUnavailable


def connect_to_first(attempts: Sequence[Attempt]) -> Connection:
    """Return the connection of the first attempt that succeeds. There is one for each host, and all run concurrently.

    So a host that drops packets does not delay the connection to another one. A failed attempt is repeated until each
    host has failed at least once, so that a standby that is promoted meanwhile is found. Raises CatalogUnavailable.
    """
    if len(attempts) == 1:
        return attempts[0]()
    outcomes, is_over = SimpleQueue[tuple[int, Outcome]](), Event()
    errors: dict[int, CatalogUnavailable] = {}
    try:
        for number, attempt in enumerate(attempts):
            _start(number, attempt, outcomes, is_over)
        while len(errors) < len(attempts):
            number, outcome = outcomes.get()
            if isinstance(outcome, Connection):
                return outcome
            errors[number] = outcome
    finally:
        is_over.set()
    # An error of a primary, which has a more specific type, is more useful than that of a standby or unreachable host.
    raise next((error for error in errors.values() if type(error) is not CatalogUnavailable), errors[0])


def repeat(attempt: Attempt, is_over: Event, deliver: Callable[[Outcome], None]) -> None:
    """Deliver the outcome of an attempt, and repeat it until it succeeds or `is_over` is set.

    Every error is delivered: whoever waits for a thread that ended without an outcome would wait forever.
    """
    outcome: Outcome | None = None
    while not (isinstance(outcome, Connection) or is_over.wait(RETRY_INTERVAL if outcome else 0)):
        try:
            outcome = attempt()
        except CatalogUnavailable as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 such as a RuntimeError if no thread can be started
            outcome = CatalogUnavailable(f"{type(error).__name__}: {error}")
        deliver(outcome)


def _start(number: int, attempt: Attempt, outcomes: "SimpleQueue[tuple[int, Outcome]]", is_over: Event) -> None:
    """Repeat an attempt in a thread. A connection that is made too late is closed."""

    def deliver(outcome: Outcome) -> None:
        if isinstance(outcome, Connection) and is_over.is_set():
            outcome.close()
        else:
            outcomes.put((number, outcome))

    # Not in an executor: its shutdown would wait for the threads, and looking up a host name has no timeout.
    Thread(target=repeat, args=(attempt, is_over, deliver), name="catalog-host", daemon=True).start()
