"""The ceiling: an application that does nothing but send the bytes of an answer, in the worker that the service has."""

import json
import os
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from app.server.gunicorn import tuned_lifespan

ANSWER = "BENCH_ANSWER"

_folder = Path(os.environ[ANSWER])
_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(name.encode(), value.encode()) for name, value in json.loads((_folder / "headers").read_bytes())],
}
_BODY: Message = {"type": "http.response.body", "body": (_folder / "body").read_bytes()}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer whatever is asked; the worker wants to hear that the application began."""
    if scope["type"] == "lifespan":
        await receive()
        async with tuned_lifespan(app):
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send(_START)
    await send(_BODY)
