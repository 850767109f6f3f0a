"""An engine that blocks: the event loop never waits for it, and no stored response is sent during an outage."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import _GeneratorContextManager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.catalog.errors import CatalogConnectionLost
from app.catalog.sqlite.engine import SQLiteEngine
from app.catalog.sqlite.reader import SQLiteSnapshot
from app.catalog.tokens import add_token
from app.overrides import Overrides
from tests.conftest import Serve
from tests.support.clock import FakeClock
from tests.support.engines import BlockingEngine
from tests.support.images import catalog_of, image, image_id
from tests.support.projects import LIST_URL, PROJECT

ONE = f"/v2/{PROJECT}/images/{image_id(1)}"
REQUESTS = (
    *(("GET", url) for url in (LIST_URL, LIST_URL, f"{LIST_URL}?limit=1", ONE, f"{ONE}/metadata", f"{ONE}/metadata/a")),
    *(("GET", url) for url in (f"{LIST_URL}?marker=none", f"/v2/{PROJECT}/images/none", "/healthcheck/ready", "/none")),
    *(("HEAD", LIST_URL), ("PUT", f"{ONE}/metadata"), ("GET", ONE), ("DELETE", ONE), ("GET", ONE), ("GET", LIST_URL)),
)
INDEPENDENT = (
    *("/", "/v2", "/v2/", "/healthcheck", "/openapi.json", "/openapi.yaml", "/ui", "/ui/", "/ui/index.html"),
    *("/ui/swagger-ui.css", "/ui/swagger-initializer.js"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return catalog_of(tmp_path, image(1, metadata={"a": "b"}, owner=PROJECT), image(2))


@pytest.fixture
def engine(path: Path) -> BlockingEngine:
    return BlockingEngine(path)


@pytest.mark.parametrize("auth", ["none", "token"])
def test_responses_are_those_of_an_engine_that_does_not_block(serve: Serve, tmp_path: Path, auth: str) -> None:
    received = []
    for engine_class in (SQLiteEngine, BlockingEngine):
        (folder := tmp_path / engine_class.__name__).mkdir()
        engine = engine_class(catalog_of(folder, image(1, metadata={"a": "b"}, owner=PROJECT), image(2)))
        client = serve(Path(engine.name), auth=auth, overrides=Overrides(engine=engine, clock=FakeClock()))
        client.headers["X-Auth-Token"] = add_token(engine, PROJECT, is_admin=True, expires=None)
        received.append([send(client, method, url) for method, url in REQUESTS])
    assert received[0] == received[1]
    assert {status for status, *_ in received[0]} >= {200, 204, 400, 404}


def send(client: TestClient, method: str, url: str) -> tuple[int, str | None, str]:
    response = client.request(method, url, json={"metadata": {"c": "d"}} if method == "PUT" else None)
    return response.status_code, response.headers.get("etag"), response.text


@pytest.mark.parametrize("auth", ["none", "token"])
def test_requests_that_need_no_catalog_do_not_ask_for_its_version(
    serve: Serve, path: Path, engine: BlockingEngine, auth: str
) -> None:
    client = serve(path, auth=auth, overrides=Overrides(engine=engine))
    path.unlink()
    assert {url: client.get(url).status_code for url in INDEPENDENT} == dict.fromkeys(INDEPENDENT, 200) | {"/ui": 307}
    assert engine.versions == 0


@pytest.mark.parametrize("auth", ["none", "token"])
def test_outage_is_never_answered_from_a_cache(serve: Serve, path: Path, engine: BlockingEngine, auth: str) -> None:
    client = serve(path, auth=auth, overrides=Overrides(engine=engine))
    client.headers["X-Auth-Token"] = add_token(engine, PROJECT, is_admin=True, expires=None)
    etag = client.get(LIST_URL).headers["etag"]
    path.rename(path.with_name("away"))
    for headers in ({}, {"If-None-Match": etag}, {"If-None-Match": "*"}):
        response = client.get(LIST_URL, headers=headers)
        assert (response.status_code, "retry-after" in response.headers) == (503, True)
    path.with_name("away").rename(path)
    assert client.get(LIST_URL, headers={"If-None-Match": etag}).status_code == 304


class LossyEngine(BlockingEngine):
    """An engine whose connection breaks in the next reads."""

    losses = 0

    def snapshot(self, *, is_single: bool = False) -> _GeneratorContextManager[SQLiteSnapshot]:
        """Fail, or read."""
        if self.losses:
            self.losses -= 1
            raise CatalogConnectionLost("the connection is lost")
        return super().snapshot(is_single=is_single)


@pytest.mark.parametrize(
    ("call", "losses", "status"),
    [
        (("GET", LIST_URL), 1, 200),
        (("GET", LIST_URL), 2, 503),
        (("GET", "/healthcheck/ready"), 1, 200),
        (("DELETE", ONE), 1, 503),
    ],
)
def test_lost_read_is_repeated_once_and_a_change_never(
    serve: Serve, path: Path, call: tuple[str, str], losses: int, status: int
) -> None:
    engine = LossyEngine(path)
    client = serve(path, overrides=Overrides(engine=engine))
    assert client.get(f"{LIST_URL}?limit=2").status_code == 200  # the catalog is no replica
    engine.losses = losses
    response = client.request(*call)
    assert (response.status_code, "retry-after" in response.headers) == (status, status == 503)
    assert engine.losses == 0


class StoppedEngine(BlockingEngine):
    """An engine whose reads wait until they are released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.released = threading.Event()
        self.started = threading.Semaphore(0)

    def snapshot(self, *, is_single: bool = False) -> _GeneratorContextManager[SQLiteSnapshot]:
        """Wait, and read."""
        self.started.release()
        self.released.wait()
        return super().snapshot(is_single=is_single)


def test_other_requests_do_not_wait_for_reads(serve: Serve, path: Path) -> None:
    engine = StoppedEngine(path)
    client = serve(path, overrides=Overrides(engine=engine))
    with ThreadPoolExecutor() as pool:
        reads = [pool.submit(client.get, f"{LIST_URL}?limit={limit}") for limit in range(1, 8)]
        for _ in range(engine.max_readers):
            engine.started.acquire()
        assert client.get("/healthcheck").status_code == 200
        engine.released.set()
        assert [read.result().status_code for read in reads] == [200] * 7
