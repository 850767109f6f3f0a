"""Constant bytes: an application that only sends the bytes of a response, in the worker of the service."""

import json
import os
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from app.server.worker import tune_process

RESPONSE = "BENCH_RESPONSE"

_folder = Path(os.environ[RESPONSE])
_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(name.encode(), value.encode()) for name, value in json.loads((_folder / "headers").read_bytes())],
}
_BODY: Message = {"type": "http.response.body", "body": (_folder / "body").read_bytes()}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the response to every request; and complete the start, for which the worker waits."""
    if scope["type"] == "lifespan":
        await receive()
        tune_process()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send(_START)
    await send(_BODY)
