"""Context variables do not leak from one request to the next."""

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from uvicorn import Config, Server

from app.server.backpressure import Buffers, WorkerState
from app.server.worker import Worker
from tests.integration.server.service import until
from tests.integration.server.wire import Connection, request

_variable: ContextVar[bytes] = ContextVar("variable", default=b"unset")


async def leaky(scope: Any, receive: Any, send: Any) -> None:
    """Respond with the value that the previous request left in the context, and set another one."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    found = _variable.get()
    _variable.set(scope["path"].encode())
    headers = [(b"content-length", str(len(found)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": found})


@pytest.fixture
def port() -> Iterator[int]:
    """Serve `leaky` with the configuration of a worker."""
    settings: dict[str, Any] = Worker.CONFIG_KWARGS
    server = Server(Config(leaky, port=0, **settings))
    server.server_state = WorkerState(Buffers())
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_context_of_earlier_request_is_not_visible(port: int) -> None:
    with Connection(port) as connection:
        connection.send(*(request(f"/{number}") for number in range(5)))
        assert [connection.receive().body for _ in range(5)] == [b"unset"] * 5
        assert connection.fetch(request("/last")).body == b"unset"
