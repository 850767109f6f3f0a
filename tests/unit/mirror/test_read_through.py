"""Read-through: its timeout, a busy catalog, and the context of its threads."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from app.catalog.engine import Engine
from app.catalog.executor import ReadExecutor
from app.context import RequestContext, current_request
from app.errors import ImageNotFound
from app.mirror.client import GlanceClient
from app.mirror.read_through import ReadThroughMiddleware
from tests.integration.server.service import until
from tests.support.engines import ImpatientEngine
from tests.support.fake_glance import FakeGlance, glance_client, glance_image
from tests.support.images import image_id
from tests.support.replicas import create_replica, stored

NEW = glance_image(9)


@pytest.fixture
def catalog(tmp_path: Path, glance: FakeGlance) -> Engine:
    """Create a replica that lacks an image."""
    engine = ImpatientEngine(tmp_path / "catalog.db")
    create_replica(engine, glance.url)
    glance.put(NEW)
    return engine


def fetch(engine: Engine, connect: Callable[..., GlanceClient] | None = None, *, timeout: float = 5) -> RequestContext:
    """Pass a request for the image through the middleware. Raises ImageNotFound if the image could not be fetched."""

    async def show(*_: object) -> None:
        with engine.snapshot() as snapshot:
            if not snapshot.contains(image_id(9)):
                raise ImageNotFound

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def request(receive: Receive, send: Send) -> RequestContext:
        context = RequestContext("req-1", token="token")  # noqa: S106
        scope: Scope = {"path_params": {"image_id": image_id(9)}, "state": {"context": context}}
        current_request.set(context)
        await middleware(scope, receive, send)
        return context

    def connect_with_token(url: str, token: str, timeout: float) -> GlanceClient:
        return glance_client(url, token=token, timeout=timeout)

    middleware = ReadThroughMiddleware(show, ReadExecutor(engine, 10), connect or connect_with_token, timeout=timeout)
    return asyncio.run(request(receive, show))


def test_fetch_that_times_out_is_not_found_but_stored_later(
    catalog: Engine, glance: FakeGlance, caplog: pytest.LogCaptureFixture
) -> None:
    def wait_longer(url: str, token: str, _: float) -> GlanceClient:
        return glance_client(url, token=token, timeout=5)

    glance.before[f"GET /v2/images/{image_id(9)}"] = lambda: until(lambda: "in time" in caplog.text)
    with pytest.raises(ImageNotFound):
        fetch(catalog, wait_longer, timeout=0.2)
    assert f"Image {image_id(9)} was not fetched from the image service in time" in caplog.text
    until(lambda: 9 in stored(catalog))
    fetch(catalog)
    assert len(glance.take_requests()) == 1


def test_image_is_not_found_while_the_catalog_is_busy(catalog: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with catalog.transaction(timeout=1), pytest.raises(ImageNotFound):
        fetch(catalog)
    assert f"Image {image_id(9)} could not be fetched: " in caplog.text
    fetch(catalog)


def test_thread_has_the_context_of_the_request(catalog: Engine, glance: FakeGlance) -> None:
    contexts = []

    def record(url: str, token: str, timeout: float) -> GlanceClient:
        contexts.append(current_request.get())
        return glance_client(url, token=token, timeout=timeout)

    assert contexts == [fetch(catalog, record)] * len(contexts)
    assert len(contexts) == 1
    assert [request.token for request in glance.requests] == ["token"]
