"""A backup of a service under load, restored for another service that runs elsewhere."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pytest

from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from app.catalog.transfer import export_images
from tests.integration.server.service import COMMAND, Service, run, serving, until
from tests.integration.server.wire import JSON, Connection, Response, request
from tests.support.images import catalog_of, image, image_id
from tests.support.projects import OTHER_PROJECT, PROJECT

OWN = range(100, 130)  # the numbers of images that nobody changes
COUNTED = (range(1, 4), range(4, 6))  # and of those that each of two writers changes
SETTINGS = {"IMAGES_AUTH": "token", "IMAGES_COMPUTE_URL": "http://compute.test"}


class Writer(threading.Thread):
    """Writes 1, 2, … to the images of a project until it is stopped: each number to one image after the other."""

    def __init__(self, service: Service, token: str, images: Sequence[int]) -> None:
        super().__init__()
        self.changes = 0
        self._port, self._token, self._images = service.port, token, images
        self._is_stopped = threading.Event()
        self.start()

    def run(self) -> None:
        """Write over one connection."""
        with Connection(self._port) as connection:
            while not self._is_stopped.is_set():
                target = f"/v2/{OTHER_PROJECT}/images/{image_id(self._images[self.changes % len(self._images)])}"
                body = b'{"metadata": {"number": "%d"}}' % (self.changes // len(self._images) + 1)
                headers = (f"X-Auth-Token: {self._token}", JSON, f"Content-Length: {len(body)}")
                assert connection.fetch(request(f"{target}/metadata", *headers, method="PUT") + body).status == 200
                self.changes += 1

    def stop(self) -> None:
        """Stop after the current request."""
        self._is_stopped.set()
        self.join()


@contextmanager
def writers(service: Service, token: str) -> Iterator[list[Writer]]:
    """Let two clients write until the end of the block."""
    with ExitStack() as stack:
        running = [Writer(service, token, images) for images in COUNTED]
        for writer in running:
            stack.callback(writer.stop)
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    counted = (image(n, owner=OTHER_PROJECT, visibility="private", metadata={"number": "0"}) for n in range(1, 6))
    own = (image(n, owner=PROJECT, visibility="private", name=f"own {n}", minRam=n % 7) for n in OWN)
    return catalog_of(tmp_path / "source" / "data", *counted, *own, image(131, status="DELETED"), image(132))


def responses(service: Service, token: str) -> dict[str, tuple[int, bytes, str | None]]:
    """Return the responses to a project's lists and items that nobody changes: their statuses, bodies and ETags."""
    lists = ["", "/detail", "?limit=7", f"/detail?limit=7&marker={image_id(110)}", "/detail?name=own%20111"]
    lists += [f"/detail?{each}" for each in ("changes-since=2000-01-01", "status=DELETED", "minRam=3")]
    items = [f"/{image_id(number)}{each}" for number in (1, *OWN, 131, 132) for each in ("", "/metadata")]
    requests = {each: request(f"/v2/{PROJECT}/images{each}", f"X-Auth-Token: {token}") for each in lists + items}
    with Connection(service.port) as connection:
        return {each: summary(connection.fetch(raw)) for each, raw in requests.items()}


def summary(response: Response) -> tuple[int, bytes, str | None]:
    return response.status, response.body, response.headers.get("etag")


def numbers(catalog: Path, images: Sequence[int]) -> list[int]:
    """Return what a writer wrote to its images, in its order."""
    stored = {each.id: orjson.loads(each.metadata) for each in export_images(open_catalog(catalog))}
    return [int(stored[image_id(number)]["number"]) for number in images]


def test_backup_under_load_is_restored_to_a_running_service_elsewhere(source: Path, tmp_path: Path) -> None:
    engine = open_catalog(source)
    token, other_token = (add_token(engine, each, is_admin=False, expires=None) for each in (PROJECT, OTHER_PROJECT))
    backup, elsewhere = tmp_path / "backup.db", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with (
        serving(source.parents[1], workers=2, **SETTINGS) as service,
        serving(elsewhere, workers=2, **SETTINGS) as other,
        writers(service, other_token) as running,
    ):
        expected = responses(service, token)
        assert {status for status, *_ in responses(other, token).values()} == {401}
        until(lambda: all(writer.changes > 3 for writer in running))
        before = [writer.changes for writer in running]
        assert run(COMMAND, "backup", str(backup), folder=source.parents[1]).returncode == 0
        until(lambda: all(writer.changes > count for writer, count in zip(running, before, strict=True)))
        restored = run(COMMAND, "restore", "--force", str(backup), folder=elsewhere)
        assert restored.returncode == 0, restored.stderr
        assert responses(other, token) == expected == responses(service, token)
    assert (service.errors, other.errors) == ([], [])
    for writer, images, count in zip(running, COUNTED, before, strict=True):
        first, *others = numbers(elsewhere / "data/catalog.db", images)
        # One state: an image has the number of the one that is written before it, or the number before.
        assert others in [[first] * done + [first - 1] * (len(others) - done) for done in range(len(others) + 1)]
        assert count <= first + sum(others) <= writer.changes
