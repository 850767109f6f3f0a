"""Helpers for ASGI messages."""

import asyncio

from starlette.types import Message, Receive

from app.errors import InvalidBody

BODY_TIMEOUT = 20  # seconds


async def read_body(receive: Receive) -> bytes:
    """Read a body to its end. Raises BadBody where that does not come, or not in time."""
    parts = []
    more = True
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise InvalidBody("it ended before its end")
                parts.append(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        raise InvalidBody(f"it did not come within {BODY_TIMEOUT} seconds") from None
    return b"".join(parts)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read, and then nothing until the client goes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        if waiting:
            return waiting.pop()
        while (message := await receive())["type"] != "http.disconnect":
            pass
        return message

    return receive_again
