"""Answers that are kept, while another process writes: nobody is ever told what is stale, or what is for another."""

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import wraps
from itertools import product
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask import Response
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from app import factory, images
from app.answers import Answers
from app.catalog import load, prepare
from app.contract import Contract
from tests.conftest import client_of
from tests.generator import TENANTS
from tests.images import Fields, image, image_id, records_of

OWNERS = (*TENANTS[:2], None)
SCHEMES = ("http", "https")
HOSTS = ("one.test", "two.test:8774")
TENANTS_ASKING = (*TENANTS[:2], "openstack")
CHANGES_EACH_TIME = {"date", "x-compute-request-id", "x-openstack-request-id"}
SOME = 4  # images that are ever written


class Write(NamedTuple):
    """Something that another process does to the catalog."""

    images: tuple[Fields, ...]
    owner: str | None = None
    prune: bool = False


class Change(NamedTuple):
    """Something that a request does to an image."""

    tenant: str
    number: int
    method: str
    items: dict[str, str]


class Ask(NamedTuple):
    """A request."""

    tenant: str
    target: str
    scheme: str
    host: str
    encoding: str
    method: str


class Told(NamedTuple):
    """What a client is told, to the byte; but for what is new in every answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Again(NamedTuple):
    """Everything that was asked before, asked again; by who has the answers already, if so."""

    knowing: bool


class ByEveryone(NamedTuple):
    """One request, in all the ways that differ in nothing but who asks, and how."""

    ask: Ask

    def asks(self) -> Iterator[Ask]:
        """Give the ways."""
        for tenant, scheme, host, encoding in product(TENANTS_ASKING, SCHEMES, HOSTS, ("identity", "gzip")):
            yield self.ask._replace(tenant=tenant, scheme=scheme, host=host, encoding=encoding)


class Race(NamedTuple):
    """A request, and a write in the middle of it: before its query, or after."""

    start: Write
    asked: list[Ask]
    ask: Ask
    write: Write
    before: bool


Step = Write | Change | Ask | ByEveryone | Again


def work(pipe: Connection, catalog: Path) -> None:
    """Write what comes through the pipe, in a process of its own; None empties the catalog."""
    while True:
        try:
            write = pipe.recv()
        except EOFError:
            return
        if write is None:
            with closing(Database(catalog)) as db, db.conn:
                db.execute("DELETE FROM images")
        else:
            load(catalog, records_of(*write.images), owner=write.owner, prune=write.prune)
        pipe.send("done")


class Rig:
    """A catalog that another process writes, and applications that answer from it."""

    def __init__(self, write: Callable[[Write | None], None], truth: TestClient) -> None:
        self.write = write
        self.truth = truth  # it keeps nothing
        self.keepers: list[TestClient] = []
        self.answers: list[Answers] = []
        self.during: list[tuple[Write, bool]] = []
        self.asked: dict[Ask, str | None] = {}

    def restart(self) -> None:
        """Forget all that was asked, and begin with no image."""
        self.asked.clear()
        self.write(None)

    def interrupt(self, *, before: bool) -> None:
        """Do the write that waits for this moment of a request."""
        if self.during and self.during[0][1] is before:
            self.write(self.during.pop()[0])

    def step(self, step: Step) -> None:
        """Do one step, and check what each application says."""
        match step:
            case Write():
                self.write(step)
            case Change():
                self.change(step)
            case Ask():
                self.ask(step)
            case ByEveryone():
                for ask in step.asks():
                    self.ask(ask)
            case Again():
                for ask, etag in list(self.asked.items()):
                    self.ask(ask, etag if step.knowing else None)

    def change(self, change: Change) -> None:
        """Have one of the applications do it, in a thread of its own."""
        url = f"/v2/{change.tenant}/images/{image_id(change.number)}"
        if change.method == "DELETE":
            self.keepers[0].delete(url)
        else:
            self.keepers[0].request(change.method, f"{url}/metadata", json={"metadata": change.items})

    def ask(self, ask: Ask, etag: str | None = None) -> None:
        """Check that all say the same, and the same when they are asked twice."""
        truth = tell(self.truth, ask, etag)
        for keeper in self.keepers * 2:
            assert tell(keeper, ask, etag) == truth
        if etag is None:
            self.asked[ask] = dict(truth.headers).get("etag")
            self.check_encoding(ask, truth)

    def check_encoding(self, ask: Ask, told: Told) -> None:
        """Check that an answer says the same in whatever encoding."""
        if "content-encoding" in dict(told.headers) and told.body:
            plain = tell(self.truth, ask._replace(encoding="identity"), None)
            assert gzip.decompress(told.body) == plain.body

    def race(self, keeper: TestClient, race: Race) -> None:
        """Check that what is written in the middle of a request is in its answer whole, or not at all."""
        self.restart()
        self.step(race.start)
        for ask in race.asked:
            self.step(ask)
        before = tell(self.truth, race.ask, None)
        self.during.append((race.write, race.before))
        told = tell(keeper, race.ask, None)
        while self.during:  # no query was made: the answer was kept, or it is a fault
            self.write(self.during.pop()[0])
        after = tell(self.truth, race.ask, None)
        assert told in (before, after)
        assert tell(keeper, race.ask, None) == after


def tell(client: TestClient, ask: Ask, etag: str | None) -> Told:
    headers = {"Host": ask.host, "Accept-Encoding": ask.encoding}
    if etag is not None:
        headers["If-None-Match"] = etag
    url = f"{ask.scheme}://compute.test/v2/{ask.tenant}/images{ask.target}"
    with client.stream(ask.method, url, headers=headers) as answer:
        body = b"".join(answer.iter_raw())
    told = [(name, value) for name, value in answer.headers.multi_items() if name not in CHANGES_EACH_TIME]
    return Told(answer.status_code, told, body)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Start the writer and three applications: one keeps nothing, one all, one very little."""
    catalog = tmp_path_factory.mktemp("answers") / "catalog.db"
    prepare(catalog, list)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        write = stack.enter_context(closing(Writer(catalog)))
        rig = Rig(write, stack.enter_context(client_of(catalog, answers_mb=0)))
        for operation in ("list_images", "list_images_details", "show_image"):
            patch.setattr(images, operation, interrupted(rig, getattr(images, operation)))
        for bound in (1_000_000, 6_000):
            patch.setattr(factory, "Answers", building(rig.answers, bound))
            rig.keepers.append(stack.enter_context(client_of(catalog, CONTRACT)))
        yield rig


class Writer:
    """The other process."""

    def __init__(self, catalog: Path) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, catalog), daemon=True)
        self._process.start()
        theirs.close()

    def __call__(self, write: Write | None) -> None:
        """Have something written, and wait until it is."""
        self._pipe.send(write)
        assert self._pipe.poll(20), "the writer hangs"
        assert self._pipe.recv() == "done"

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(20)


def building(built: list[Answers], bound: int) -> Callable[..., Answers]:
    def build(next_app: ASGIApp, **options: Any) -> Answers:
        built.append(Answers(next_app, **options | {"bound": bound}))
        return built[-1]

    return build


def interrupted(rig: Rig, operation: Callable[..., Response]) -> Callable[..., Response]:
    @wraps(operation)
    def interrupted(**parameters: Any) -> Response:
        rig.interrupt(before=True)
        answer = operation(**parameters)
        rig.interrupt(before=False)
        return answer

    return interrupted


CONTRACT = Contract.load(secured=False)

# Few of each, so that what is asked and written meets.
written = st.builds(
    image,
    st.integers(1, SOME),
    name=st.sampled_from(["a", "b", None]),
    status=st.sampled_from(["ACTIVE", "ACTIVE", "DELETED"]),
    visibility=st.sampled_from(["public", "private", "shared", "community"]),
    members=st.just([TENANTS[1]]),
    # Those with much to say make answers that are worth compressing.
    metadata=st.sampled_from([{}, {"description": "x" * 500}, {"image_type": "snapshot"}]),
) | st.builds(image, st.integers(1, SOME), owner=st.sampled_from(TENANTS[:2]), visibility=st.just("private"))
writes = st.builds(
    Write,
    st.lists(written, max_size=SOME, unique_by=lambda each: each["id"]).map(tuple),
    owner=st.sampled_from(OWNERS),
    prune=st.booleans(),
)
changes = st.builds(
    Change,
    tenant=st.sampled_from(TENANTS_ASKING),
    number=st.integers(1, SOME),
    method=st.sampled_from(["DELETE", "POST", "PUT"]),
    items=st.sampled_from([{}, {"a": "1"}, {"a": "2"}, {"image_type": "snapshot"}]),
)
targets = (
    *("/detail", "/detail?limit=1", "/detail?name=a", f"/detail?marker={image_id(1)}", "/detail?limit=x"),
    *("", "?changes-since=2020-01-01T00:00:00Z", f"/{image_id(1)}", f"/{image_id(1)}/metadata"),
)
asks = st.builds(
    Ask,
    tenant=st.sampled_from(TENANTS_ASKING),
    target=st.sampled_from(targets),
    scheme=st.sampled_from(SCHEMES),
    host=st.sampled_from(HOSTS),
    encoding=st.sampled_from(["identity", "gzip", "br", "gzip;q=0, *"]),
    method=st.sampled_from(["GET", "GET", "HEAD"]),
)
again = st.builds(Again, st.booleans())
by_everyone = st.builds(ByEveryone, asks)
steps = st.lists(writes | changes | asks | asks | again, min_size=4, max_size=14)


races = st.builds(Race, writes, st.lists(asks, max_size=2), asks, writes, st.booleans())


def test_kept_answers_are_those_that_would_be_made(rig: Rig) -> None:
    @given(steps, writes, by_everyone)
    @settings(max_examples=30, deadline=None, derandomize=True)
    def check(steps: Sequence[Step], last: Write, everyone: ByEveryone) -> None:
        rig.restart()
        for step in (*steps, last, Again(knowing=False), everyone):
            rig.step(step)

    check()
    much, little = (each.statistics for each in rig.answers)
    assert min(much.hits, much.misses, little.hits) > 200  # else nothing was tried
    assert little.misses > much.misses


@given(race=races)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_write_in_the_middle_of_a_request_is_seen_by_the_next(rig: Rig, race: Race) -> None:
    for keeper in rig.keepers:
        rig.race(keeper, race)
