"""Two tenants at once, a hundred thousand times: neither is ever told of an image of the other."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import NamedTuple

import orjson

from app.catalog.tokens import add_token
from tests.integration.server.service import serving
from tests.integration.server.wire import Answer, Connection, request
from tests.support.images import Fields, catalog_of, image

REQUESTS, AT_ONCE, CLIENTS = 100_000, 100, 4
BATCHES = REQUESTS // AT_ONCE // CLIENTS  # of each client
WRITES = 25  # batches, after which a client changes an image

IMAGES = 10  # of each tenant


class Tenant(NamedTuple):
    """A tenant, and the mark that its images' ids begin with."""

    id: str
    mark: str

    def image_id(self, number: int) -> str:
        """Give the id of one of its images."""
        return f"{self.mark}-0000-4000-8000-{number:012}"

    def image(self, number: int) -> Fields:
        """Make one of its images."""
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


A, B = Tenant("1" * 32, "a" * 8), Tenant("2" * 32, "b" * 8)
OTHERS = {A: B, B: A}


class Question(NamedTuple):
    """A request of a tenant, and what is to come for it: a status, and so many of the tenant's images."""

    tenant: Tenant
    raw: bytes
    status: int
    images: int

    def is_answered(self, answer: Answer) -> bool:
        """Tell whether an answer has just that, and nothing of another tenant's."""
        if answer.status != self.status:
            return False
        if answer.status != 200:  # a fault quotes what was asked for, an id of the other among that
            return b"links" not in answer.body
        images = answer.body.count(f'"id":"{self.tenant.mark}-'.encode())
        return images == self.images and OTHERS[self.tenant].mark.encode() not in answer.body


class Caller:
    """A tenant with its token."""

    def __init__(self, tenant: Tenant, token: str) -> None:
        self._tenant = tenant
        self._token = f"X-Auth-Token: {token}"

    def questions(self) -> Iterator[Question]:
        """Give all that it asks for, with what it is not to see."""
        tenant, other = self._tenant, OTHERS[self._tenant]
        for path in (f"/v2/{tenant.id}/images", f"/v2/{tenant.id}/images/detail"):
            yield self._question(path, 200, IMAGES)
            yield self._question(f"{path}?changes-since=2021-01-01T00:00:00Z", 200, IMAGES)
            for number in range(1, IMAGES + 1):
                yield self._question(f"{path}?limit={number}", 200, number)
                yield self._question(f"{path}?name={tenant.mark}%20{number}", 200, 1)
                yield self._question(f"{path}?name={other.mark}%20{number}", 200)
            yield self._question(f"{path}?marker={other.image_id(1)}", 400)
            yield self._question(path.replace(tenant.id, other.id), 403)
            yield self._question(f"/{path}", 404)
        for number in range(1, IMAGES + 1):
            yield self._question(f"/v2/{tenant.id}/images/{tenant.image_id(number)}", 200, 1)
            yield self._question(f"/{tenant.id}/images/{tenant.image_id(number)}", 200, 1)
            yield self._question(f"/v2/{tenant.id}/images/{tenant.image_id(number)}/metadata", 200)
            yield self._question(f"/v2/{tenant.id}/images/{other.image_id(number)}", 404)
            yield self._question(f"/v2/{tenant.id}/images/{other.image_id(number)}/metadata", 404)
            yield self._question(f"/v2/{other.id}/images/{other.image_id(number)}", 403)

    def change(self, number: int, text: str) -> bytes:
        """Write a request that changes an image."""
        body = orjson.dumps({"metadata": {"of": self._tenant.mark, "changed": text}})
        path = f"/v2/{self._tenant.id}/images/{self._tenant.image_id(number)}/metadata"
        return request(path, self._token, f"Content-Length: {len(body)}", method="PUT") + body

    def _question(self, path: str, status: int, images: int = 0) -> Question:
        return Question(self._tenant, request(path, self._token), status, images)


def hammer(port: int, callers: Sequence[Caller], seed: int) -> list[tuple[Question, Answer]]:
    """Ask for both tenants on one connection, and change something now and then. Give the answers that are wrong."""
    random = Random(seed)
    questions = [each for caller in callers for each in caller.questions()]
    wrong = []
    with Connection(port) as connection:
        for batch in range(BATCHES):
            if batch % WRITES == 0:
                change = random.choice(callers).change(random.randint(1, IMAGES), f"{seed} {batch}")
                assert connection.ask(change).status == 200
            asked = random.choices(questions, k=AT_ONCE)
            connection.send(*(each.raw for each in asked))
            for each in asked:
                answer = connection.receive()
                if not each.is_answered(answer):
                    wrong.append((each, answer))
    return wrong


def test_no_tenant_is_told_of_an_image_of_the_other(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path / "data",
        *(tenant.image(number) for number in range(1, IMAGES + 1) for tenant in OTHERS),
        *(image(number) for number in range(5)),
    )
    callers = [Caller(each, add_token(catalog, each.id, is_admin=False, expires=None)) for each in OTHERS]
    with serving(tmp_path, workers=2, IMAGES_AUTH="token") as service, ThreadPoolExecutor(CLIENTS) as clients:
        wrong = clients.map(lambda seed: hammer(service.port, callers, seed), range(CLIENTS))
        assert [each for some in wrong for each in some] == []
    kept = re.findall(r"answers of this worker: Statistics\(hits=(\d+), misses=(\d+)", service.log)
    assert len(kept) == 2
    assert all(int(hits) > int(misses) > 0 for hits, misses in kept)
    assert "[ERROR]" not in service.log
