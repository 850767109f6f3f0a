"""Timeouts of connections."""

import asyncio
from collections.abc import Callable

HEAD_TIMEOUT = 10  # seconds, for a request head, and for the rest of a body after the response was sent
WRITE_TIMEOUT = 60  # seconds, for a client that stops reading
LAST_REQUEST_TIMEOUT = 0.5  # seconds, for the next request of an idle connection while the worker stops


class Timeout:
    """Calls a function after some time, unless it is cancelled."""

    def __init__(self, on_timeout: Callable[[], None]) -> None:
        self._on_timeout = on_timeout
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Start the timer, unless it is running already."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timeout)

    def cancel(self) -> None:
        """Stop the timer if it is running."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
