"""Both engines: the same history gives the same results, the same responses byte for byte, and the same export."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.catalog.engines import open_catalog
from app.catalog.models import ImageFailure, Upstream
from app.catalog.transfer import ensure_catalog, import_images
from app.errors import DomainError
from app.overrides import Overrides
from tests.conftest import client_of
from tests.properties.harness import send
from tests.properties.histories import ANONYMOUS, IMAGE_COUNT, OWNERS, PLAIN, Change, ReadRequest, Wait, Write, changes
from tests.support.catalogs import PostgreSQLCatalogs, empty_catalog, sqlite_catalogs
from tests.support.clock import FakeClock
from tests.support.generator import NAMES, PROJECTS
from tests.support.images import Fields, image, image_id, image_number, stored_images
from tests.support.postgresql import Cluster
from tests.unit.catalog.replicas import GLANCE, Replica

DAY = 86_400


class Sync(NamedTuple):
    """A full sync of a mirror, or an incremental one, which knows some deleted images."""

    images: tuple[Fields, ...]
    failed: frozenset[int]
    deleted: frozenset[int] | None


class Apply(NamedTuple):
    """A change of an image upstream."""

    change: str  # insert, update or delete
    number: int
    fields: dict[str, Any]


Step = Write | Change | ReadRequest | Wait | Sync | Apply


class Twin:
    """A catalog in one of the engines, and a service of it."""

    def __init__(self, location: str, running: ExitStack) -> None:
        self._location = location
        self._clock = FakeClock()
        self._engine = open_catalog(location)
        ensure_catalog(self._engine, list, tombstone_days=30)
        self._client = running.enter_context(client_of(location, overrides=Overrides(clock=self._clock)))
        self._replica = Replica(self._engine, self._clock)

    def restart(self) -> None:
        """Start with an empty catalog."""
        empty_catalog(self._location)
        self._clock.reset()

    def step(self, step: Step) -> object:
        """Do one step, and return its result."""
        match step:
            case Change():
                url = f"/v2/{step.project_id}/images/{image_id(step.number)}"
                suffix, body = ("", None) if step.method == "DELETE" else ("/metadata", {"metadata": step.items})
                response = self._client.request(step.method, url + suffix, json=body)
                return response.status_code, response.content
            case ReadRequest():
                return send(self._client, step)
            case Wait():
                self._clock.advance(step.seconds)
            case _:
                try:
                    return self._write(step)
                except DomainError as error:
                    return type(error)  # the message names the catalog
        return None

    def _write(self, step: Write | Sync | Apply) -> object:
        match step:
            case Write(images, owner, prune):
                options: dict[str, Any] = {"owner": owner, "prune": prune, "clock": self._clock}
                return import_images(self._engine, stored_images(*images), tombstone_days=30, **options)
            case Sync():
                failed = {image_id(number): ImageFailure("A timeout") for number in step.failed}
                deleted = None if step.deleted is None else {image_id(number) for number in step.deleted}
                return self._replica.sync(*step.images, failed=failed, deleted=deleted)
            case Apply("insert"):
                self._replica.insert(step.number, **step.fields)
            case Apply("update"):
                self._replica.update(step.number, Upstream(GLANCE, is_admin=False), **step.fields)
            case Apply():
                self._replica.delete(step.number)
        return None

    def contents(self) -> tuple[object, ...]:
        """Return everything that the catalog stores of images, and the problems that it has."""
        with self._engine.open_snapshot() as snapshot:
            counts, replicated = sorted(snapshot.count_images()), snapshot.replicated_images(None)
            images, upstream = list(snapshot.all_images(owner=None, deleted=True)), snapshot.upstream()
        return images, counts, replicated, upstream, list(self._engine.check())


TEXTS = st.sampled_from([*NAMES, "x" * 255]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
NAMED = TEXTS.filter(lambda text: "\0" not in text)
SERVERS = TEXTS | st.text("s\0/é", min_size=2_700, max_size=2_710)
TIMES = st.sampled_from(
    ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
)
SIZES = st.sampled_from([0, 1, 2_147_483_647])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": st.none() | NAMED,
    "status": st.sampled_from(["ACTIVE", "ACTIVE", "SAVING", "DELETED", "ERROR", "UNKNOWN"]),
    "created": TIMES,
    "updated": TIMES,
    "minDisk": SIZES,
    "minRam": SIZES,
    "OS-EXT-IMG-SIZE:size": st.sampled_from([None, 0, 9_007_199_254_740_991]),
    "metadata": st.fixed_dictionaries(
        {}, optional={"instance_uuid": SERVERS | st.none(), "image_type": NAMED | st.just("snapshot"), "a": SERVERS}
    )
    | st.dictionaries(TEXTS, TEXTS | st.none(), max_size=3),
    "visibility": st.sampled_from(["public", "public", "private", "shared", "community"]),
    "owner": st.sampled_from(PROJECTS[:2]),
    "members": st.lists(st.sampled_from(PROJECTS[:2]), max_size=2),
    "pending_members": st.lists(st.sampled_from(PROJECTS[:2]), max_size=2),
    "os_hidden": st.booleans(),
}
numbers = st.integers(1, IMAGE_COUNT)
fields = st.fixed_dictionaries({}, optional=FIELDS)
some_images = st.lists(
    st.builds(lambda number, fields: image(number, **fields), numbers, fields),
    max_size=IMAGE_COUNT,
    unique_by=lambda each: str(each["id"]),
).map(tuple)
QUERIES: dict[str, st.SearchStrategy[object]] = {
    "name": NAMED | TEXTS,
    "server": SERVERS,
    "status": st.sampled_from(["ACTIVE", "DELETED", "ERROR"]),
    "type": st.sampled_from(["ALL", "BASE", "SERVER", "snapshot"]) | TEXTS,
    "changes-since": TIMES,
    "minDisk": SIZES,
    "minRam": SIZES,
    "limit": st.sampled_from([1, 2, 1000]),
    "marker": numbers.map(image_id),
}
queries = st.lists(st.sampled_from(list(QUERIES)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: QUERIES[name] for name in names})
)
reads = st.builds(
    ReadRequest,
    st.just(ANONYMOUS),
    st.sampled_from([*PROJECTS[:2], "other"]),
    queries.map(lambda query: f"/detail?{urlencode(query)}") | numbers.map(lambda number: f"/{image_id(number)}"),
    method=st.just("GET"),
    **PLAIN,
)
waits = st.builds(Wait, st.sampled_from([0, 1, 31 * DAY]))
imports = st.builds(Write, some_images, owner=st.sampled_from(OWNERS), prune=st.booleans())
some_numbers = st.frozensets(numbers, max_size=2)


@st.composite
def syncs(draw: st.DrawFn) -> Sync:
    """Draw a sync, in which an image is found, or cannot be read, or is deleted."""
    images = draw(some_images)
    failed = draw(some_numbers) - {image_number(each["id"]) for each in images}
    deleted = draw(st.none() | some_numbers.map(lambda deleted: deleted - failed))
    return Sync(images, failed, deleted and deleted - {image_number(each["id"]) for each in images})


applied = st.builds(Apply, st.sampled_from(["insert", "update", "delete"]), numbers, fields)


def histories(writes: st.SearchStrategy[Step]) -> st.SearchStrategy[Sequence[Step]]:
    """Draw writes, and requests and waits between them."""
    return st.lists(writes | writes | changes(ANONYMOUS) | reads | reads | reads | waits, min_size=6, max_size=20)


@pytest.fixture(scope="module")
def twins(postgresql: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Twin]]:
    folder = tmp_path_factory.mktemp("twins")
    with ExitStack() as running:
        catalogs = [running.enter_context(each(folder)) for each in (sqlite_catalogs, PostgreSQLCatalogs(postgresql))]
        yield [Twin(new_catalog("catalog"), running) for new_catalog in catalogs]


@pytest.mark.external
@pytest.mark.parametrize("writes", [imports, syncs() | applied], ids=["imports", "syncs"])
def test_engines_give_equal_results(twins: Sequence[Twin], writes: st.SearchStrategy[Step]) -> None:
    @given(st.tuples(writes), histories(writes))
    @settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
    def check(first: Sequence[Step], history: Sequence[Step]) -> None:
        for twin in twins:
            twin.restart()
        for step in (*first, *history):
            sqlite, postgresql = (twin.step(step) for twin in twins)
            assert postgresql == sqlite, step
        sqlite, postgresql = (twin.contents() for twin in twins)
        assert postgresql == sqlite

    check()
