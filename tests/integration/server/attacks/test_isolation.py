"""Isolation: in many thousand concurrent requests, no project receives an image of the other."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import NamedTuple

import orjson

from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from tests.integration.server.service import serving
from tests.integration.server.wire import JSON, Connection, Response, fetch, request
from tests.support.images import Fields, catalog_of, image

REQUESTS, PIPELINED, CLIENTS = 40_000, 100, 4
BATCHES = REQUESTS // PIPELINED // CLIENTS  # of each client
WRITES = 25  # batches, after which a client changes an image

IMAGES = 10  # of each project


class Project(NamedTuple):
    """A project and the prefix of its image ids."""

    id: str
    mark: str

    def image_id(self, number: int) -> str:
        """Return the id of one of its images."""
        return f"{self.mark}-0000-4000-8000-{number:012}"

    def image(self, number: int) -> Fields:
        """Build one of its images."""
        created = f"2022-01-01T00:00:{number:02}Z"
        return image(
            id=self.image_id(number),
            name=f"{self.mark} {number}",
            created=created,
            updated=created,
            owner=self.id,
            visibility="private",
            metadata={"of": self.mark},
        )


A, B = Project("1" * 32, "a" * 8), Project("2" * 32, "b" * 8)
OTHERS = {A: B, B: A}


class Call(NamedTuple):
    """A request of a project with its expected status and number of images."""

    project: Project
    raw: bytes
    status: int
    images: int

    def accepts(self, response: Response) -> bool:
        """Return whether a response is as expected and has nothing of the other project."""
        if response.status != self.status:
            return False
        if response.status != 200:  # a fault quotes the request, which may contain the other project's ids
            return b"links" not in response.body
        images = response.body.count(f'"id":"{self.project.mark}-'.encode())
        return images == self.images and OTHERS[self.project].mark.encode() not in response.body


class Caller:
    """A project with a token."""

    def __init__(self, project: Project, token: str) -> None:
        self._project = project
        self._token = f"X-Auth-Token: {token}"

    def calls(self) -> Iterator[Call]:
        """Yield all its requests, including those that have to fail."""
        project, other = self._project, OTHERS[self._project]
        for path in (f"/v2/{project.id}/images", f"/v2/{project.id}/images/detail"):
            yield self._call(path, 200, IMAGES)
            yield self._call(f"{path}?changes-since=2021-01-01T00:00:00Z", 200, IMAGES)
            for number in range(1, IMAGES + 1):
                yield self._call(f"{path}?limit={number}", 200, number)
                yield self._call(f"{path}?name={project.mark}%20{number}", 200, 1)
                yield self._call(f"{path}?name={other.mark}%20{number}", 200)
            yield self._call(f"{path}?marker={other.image_id(1)}", 400)
            yield self._call(path.replace(project.id, other.id), 403)
            yield self._call(f"/{path}", 404)
        for number in range(1, IMAGES + 1):
            yield self._call(f"/v2/{project.id}/images/{project.image_id(number)}", 200, 1)
            yield self._call(f"/{project.id}/images/{project.image_id(number)}", 200, 1)
            yield self._call(f"/v2/{project.id}/images/{project.image_id(number)}/metadata", 200)
            yield self._call(f"/v2/{project.id}/images/{other.image_id(number)}", 404)
            yield self._call(f"/v2/{project.id}/images/{other.image_id(number)}/metadata", 404)
            yield self._call(f"/v2/{other.id}/images/{other.image_id(number)}", 403)

    def change(self, number: int, text: str) -> bytes:
        """Build a request that changes an image."""
        body = orjson.dumps({"metadata": {"of": self._project.mark, "changed": text}})
        path = f"/v2/{self._project.id}/images/{self._project.image_id(number)}/metadata"
        return request(path, self._token, JSON, f"Content-Length: {len(body)}", method="PUT") + body

    def _call(self, path: str, status: int, images: int = 0) -> Call:
        return Call(self._project, request(path, self._token), status, images)


def hammer(port: int, callers: Sequence[Caller], seed: int) -> list[tuple[Call, Response]]:
    """Send random requests of both projects on one connection, with some changes; return the wrong responses."""
    random = Random(seed)
    calls = [each for caller in callers for each in caller.calls()]
    wrong = []
    with Connection(port) as connection:
        for batch in range(BATCHES):
            if batch % WRITES == 0:
                change = random.choice(callers).change(random.randint(1, IMAGES), f"{seed} {batch}")
                assert connection.fetch(change).status == 200
            batch_calls = random.choices(calls, k=PIPELINED)
            connection.send(*(each.raw for each in batch_calls))
            for each in batch_calls:
                response = connection.receive()
                if not each.accepts(response):
                    wrong.append((each, response))
    return wrong


def test_projects_are_isolated_under_load(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path / "data",
        *(project.image(number) for number in range(1, IMAGES + 1) for project in OTHERS),
        *(image(number) for number in range(5)),
    )
    callers = [Caller(each, add_token(open_catalog(catalog), each.id, is_admin=False, expires=None)) for each in OTHERS]
    with (
        serving(tmp_path, workers=2, IMAGES_AUTH="token", IMAGES_METRICS="on") as service,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        wrong = clients.map(lambda seed: hammer(service.port, callers, seed), range(CLIENTS))
        assert [each for some in wrong for each in some] == []
        metrics = fetch(service.port, request("/metrics")).body.decode()
    counts = re.findall(r'^compute_images_requests_total\{cache="(\w+)",.* (\S+)$', metrics, re.MULTILINE)
    hits, misses = (sum(float(count) for cache, count in counts if cache == each) for each in ("hit", "miss"))
    assert hits > misses > 0
    assert service.errors == []
