"""What a worker keeps from one request to the next: nothing."""

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from uvicorn import Config
from uvicorn import Server as Uvicorn

from app.server.gunicorn import Worker
from tests.integration.server.service import until
from tests.integration.server.wire import Connection, request

_left: ContextVar[bytes] = ContextVar("left", default=b"nothing")


async def finder(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what the request before left in the context, and leave something."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    found = _left.get()
    _left.set(scope["path"].encode())
    headers = [(b"content-length", str(len(found)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": found})


@pytest.fixture
def port() -> Iterator[int]:
    """Serve `finder` as a worker would."""
    settings: dict[str, Any] = Worker.CONFIG_KWARGS
    server = Uvicorn(Config(finder, port=0, log_config=None, **settings))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_no_request_finds_what_the_one_before_left_in_its_context(port: int) -> None:
    with Connection(port) as connection:
        connection.send(*(request(f"/{number}") for number in range(5)))
        assert [connection.receive().body for _ in range(5)] == [b"nothing"] * 5
        assert connection.ask(request("/last")).body == b"nothing"
