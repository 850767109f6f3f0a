"""Delays of the requests to a test double."""

import asyncio
from collections import deque

from starlette.types import Message, Receive


class Delays:
    """Delays of requests that nobody waits for end early: those of clients that disconnect, and all at a reset."""

    def __init__(self) -> None:
        self._running: set[asyncio.Future[None]] = set()

    def end(self) -> None:
        """End all delays that run. This is safe in any thread."""
        for each in tuple(self._running):
            each.get_loop().call_soon_threadsafe(each.cancel)

    async def wait(self, seconds: float, receive: Receive) -> Receive | None:
        """Wait. Return a `receive` that begins with what was received meanwhile, or None if the delay ended early.

        It also ends early when the server stops, which cancels what still runs.
        """
        received: deque[Message] = deque()
        disconnected = asyncio.create_task(_receive_until_disconnected(receive, received))
        reset = asyncio.get_running_loop().create_future()
        self._running.add(reset)
        try:
            await asyncio.wait({disconnected, reset}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            has_ended_early = disconnected.done() or reset.done()
        except asyncio.CancelledError:
            has_ended_early = True
        self._running.remove(reset)
        disconnected.cancel()
        await asyncio.wait({disconnected})  # two tasks cannot receive at the same time

        async def receive_rest() -> Message:
            return received.popleft() if received else await receive()

        return None if has_ended_early else receive_rest


async def _receive_until_disconnected(receive: Receive, received: deque[Message]) -> None:
    while (message := await receive())["type"] != "http.disconnect":
        received.append(message)
