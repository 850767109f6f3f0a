"""Services of one catalog, which histories happen to: some with caches, and two without, which show what is right."""

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import wraps
from typing import Any, NamedTuple

import orjson
from flask import Response
from starlette.testclient import TestClient

from app.api.operations import Operation, resolve_operation
from app.catalog.engines import open_catalog
from app.catalog.transfer import ensure_catalog
from app.overrides import Overrides
from tests.conftest import client_of
from tests.properties.callers import Callers
from tests.properties.histories import (
    ANONYMOUS,
    ByEveryCaller,
    Change,
    InEveryForm,
    Race,
    ReadRequest,
    Repeat,
    Step,
    Write,
)
from tests.properties.issuers import CatalogIssuer, Cloud, NoIssuer
from tests.properties.other_process import OtherProcess, write
from tests.properties.reference import is_listed, is_marker
from tests.support.catalogs import empty_catalog
from tests.support.clock import FakeClock
from tests.support.counting_store import CountingStore
from tests.support.images import Fields, image_id

DIFFERS_EACH_TIME = {"date", "x-compute-request-id", "x-openstack-request-id"}
REJECTIONS = {401: "unauthorized", 403: "forbidden", 503: "serviceUnavailable"}
INTERRUPTED_OPERATIONS = {"listImages", "listImagesDetails", "showImage"}
CACHES = ((1_000_000, 60), (6_000, 30))  # bytes of responses, seconds of token validations: one large, one small


class Received(NamedTuple):
    """A response in bytes, without the headers that differ each time."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the value of a header, if there is one."""
        return dict(self.headers).get(name)


class CachedService(NamedTuple):
    """A service that caches responses, and validations of tokens for some seconds."""

    client: TestClient
    store: CountingStore
    token_cache_time: int


class Expected(NamedTuple):
    """What may be received at a moment."""

    now: Received  # without any cache
    authorized: Received | None  # by an authorized caller, if the caller is or recently was one
    recent: dict[int, set[int]]  # the statuses that were right in the last seconds, by the number of seconds

    def allows(self, received: Received, seconds: int) -> bool:
        """Return whether a service may send this if it caches validations of tokens for some seconds."""
        if is_rejection(received):
            return received == self.now or received.status in self.recent[seconds]
        return received == self.authorized and (self.now == self.authorized or 200 in self.recent[seconds])


class Harness:
    """A catalog that another process writes, and the services that serve it."""

    callers: Callers
    uncached: TestClient  # caches nothing
    unauthenticated: TestClient  # caches nothing, and requires no token

    def __init__(self, auth: str, other: OtherProcess) -> None:
        self.auth = auth
        self.other = other
        self.cached: list[CachedService] = []
        self._pending: dict[str, Sequence[Step]] = {}
        self._sent: dict[tuple[ReadRequest, str | None], str | None] = {}
        self._images: dict[str, Fields] = {}

    def restart(self) -> None:
        """Begin with an empty catalog, with new tokens, and without earlier requests."""
        self._sent.clear()
        self._images.clear()
        self.other(empty_catalog)
        self.callers.restart()

    def step(self, step: Step) -> None:
        """Do one step, and check all responses."""
        match step:
            case Write():
                self.other(write, step.images, owner=step.owner, prune=step.prune)
                self._images |= {each["id"]: each for each in step.images}
            case Change():
                self.change(step)
            case ReadRequest():
                self.check_request(step, self.callers.tokens.get(step.caller))
            case InEveryForm() | ByEveryCaller():
                for request in step.requests():
                    self.step(request)
            case Repeat():
                for (request, token), etag in list(self._sent.items()):
                    self.check_request(request, token, etag if step.conditional else None)
            case _:
                self.callers.step(step)

    def check_request(self, request: ReadRequest, token: str | None, etag: str | None = None) -> None:
        """Check that every service sends a right response, and does so again from its cache."""
        expected = self.expected(request, token, etag)
        for service in self.cached * (1 if is_rejection(expected.now) else 2):
            assert expected.allows(send(service.client, request, token, etag), service.token_cache_time)
        if etag is None:
            self._sent[request, token] = expected.now.header("etag")

    def expected(self, request: ReadRequest, token: str | None, etag: str | None = None) -> Expected:
        """Return what may be received now. Check the service without caches against the model of the callers."""
        recent = {
            each.token_cache_time: {
                standing.reads(request.project_id)
                for standing in self.callers.recent_standings(token, each.token_cache_time)
            }
            for each in self.cached
        }
        now = send(self.uncached, request, token, etag)
        status = self.callers.standing(token).reads(request.project_id)
        if status != 200:
            assert (now.status, is_rejection(now)) == (status, True)
        authorized = self.authorized(request, etag) if 200 in {status}.union(*recent.values()) else None
        if status == 200:
            assert now == authorized
            self.check_encoding(request, token, now)
        return Expected(now, authorized, recent)

    def authorized(self, request: ReadRequest, etag: str | None) -> Received:
        """Return what an authorized caller receives. Check that it contains no image that the project cannot see."""
        received = send(self.unauthenticated, request, None, etag)
        for image in ids_in(request, received):
            can_see = is_marker if request.target.startswith("/0") else is_listed
            assert can_see(self._images[image], request.project_id)
        return received

    def check_encoding(self, request: ReadRequest, token: str | None, received: Received) -> None:
        """Check that the compressed body is the plain one."""
        if received.header("content-encoding") and received.body:
            plain = send(self.uncached, request._replace(encoding="identity"), token)
            assert gzip.decompress(received.body) == plain.body

    def change(self, change: Change) -> None:
        """Change an image through a service, and check the status."""
        token, service = self.callers.tokens.get(change.caller), self.cached[0]
        url = f"/v2/{change.project_id}/images/{image_id(change.number)}"
        read = ReadRequest(ANONYMOUS, change.project_id, f"/{image_id(change.number)}")
        shown = send(self.unauthenticated, read).status == 200
        image = self._images[image_id(change.number)] if shown else None
        standings = [self.callers.standing(token), *self.callers.recent_standings(token, service.token_cache_time)]
        if change.method == "DELETE":
            response = service.client.delete(url, headers=token_header(token))
        else:
            response = service.client.request(
                change.method, f"{url}/metadata", json={"metadata": change.items}, headers=token_header(token)
            )
        status = 200 if response.status_code == 204 else response.status_code
        assert status in {standing.changes(change.project_id, image) for standing in standings}

    def race(self, service: CachedService, race: Race, *afterwards: Step) -> None:
        """Check that a response reflects all or nothing of what happens during its request, and later ones all."""
        self.restart()
        self.step(race.start)
        for request in race.earlier:
            self.step(request)
        token = self.callers.tokens.get(race.request.caller)
        before = self.expected(race.request, token)
        self._pending[race.moment] = race.meanwhile
        received = send(service.client, race.request, token)
        self.interrupt(race.moment)  # if the request did not reach this moment: cached, or a fault
        after = self.expected(race.request, token)
        assert any(each.allows(received, service.token_cache_time) for each in (before, after))
        for afterward in (race.request, *afterwards):
            self.step(afterward)

    def interrupt(self, moment: str) -> None:
        """Do the steps that are pending for this moment of a request."""
        for step in self._pending.pop(moment, ()):
            self.step(step)

    def interrupted(self, operation_id: str) -> Operation:
        """Return the function of an operation, with interrupts around a read."""
        operation = resolve_operation(operation_id)
        if operation_id not in INTERRUPTED_OPERATIONS:
            return operation

        @wraps(operation)
        def interrupted(*args: Any, **kwargs: Any) -> Response:
            self.interrupt("before the query")
            response = operation(*args, **kwargs)
            self.interrupt("after the query")
            return response

        return interrupted


def send(client: TestClient, request: ReadRequest, token: str | None = None, etag: str | None = None) -> Received:
    headers = {"Host": request.host, "Accept-Encoding": request.encoding, **token_header(token)}
    if etag is not None:
        headers["If-None-Match"] = etag
    url = f"{request.scheme}://compute.test/v2/{request.project_id}/images{request.target}"
    with client.stream(request.method, url, headers=headers) as response:
        body = b"".join(response.iter_raw())
    relevant = [(name, value) for name, value in response.headers.multi_items() if name not in DIFFERS_EACH_TIME]
    return Received(response.status_code, relevant, body)


def token_header(token: str | None) -> dict[str, str]:
    return {} if token is None else {"X-Auth-Token": token}


def is_rejection(received: Received) -> bool:
    """Return whether a response only states that the caller is not authorized. A response to HEAD has no body."""
    if received.status not in REJECTIONS:
        return False
    return not received.body or list(orjson.loads(received.body)) == [REJECTIONS[received.status]]


def ids_in(request: ReadRequest, received: Received) -> list[str]:
    if received.status != 200 or request.method == "HEAD":
        return []
    if request.target.startswith("/0"):
        return [request.target.split("/")[1]]
    body = gzip.decompress(received.body) if received.header("content-encoding") else received.body
    return [each["id"] for each in orjson.loads(body)["images"]]


@contextmanager
def running(catalog: str, auth: str) -> Iterator[Harness]:
    """Start the other process and the services."""
    ensure_catalog(open_catalog(catalog), list, tombstone_days=30)
    with ExitStack() as stack:
        clock = FakeClock()
        harness = Harness(auth, stack.enter_context(closing(OtherProcess(catalog))))
        harness.callers = callers_of(harness, auth, clock, catalog)

        def serve(store: CountingStore, seconds: int, resolve: Callable[[str], Operation]) -> TestClient:
            engine = open_catalog(catalog)
            overrides = Overrides(
                clock=clock,
                engine=engine,  # the authenticator's too: versions of different engines cannot be compared
                authenticator=harness.callers.authenticator(engine, seconds),
                responses=store,
                resolve_operation=resolve,
            )
            return stack.enter_context(client_of(catalog, auth=auth, overrides=overrides))

        harness.uncached = serve(CountingStore(0), 0, resolve_operation)
        harness.unauthenticated = stack.enter_context(client_of(catalog, response_cache_mb=0))
        for max_bytes, seconds in CACHES:
            store = CountingStore(max_bytes)
            harness.cached.append(CachedService(serve(store, seconds, harness.interrupted), store, seconds))
        yield harness


def callers_of(harness: Harness, auth: str, clock: FakeClock, catalog: str) -> Callers:
    match auth:
        case "token":
            return CatalogIssuer(clock, catalog, harness.other, harness.interrupt)
        case "keystone":
            return Cloud(clock, harness.interrupt)
    return NoIssuer(clock)
