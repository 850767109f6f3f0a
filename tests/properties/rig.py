"""Applications that answer from one catalog while histories happen to it, and what each of them may tell."""

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import orjson
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from app import factory
from app.api import images
from app.auth import base as identity
from app.auth import keystone
from app.catalog.transfer import ensure_catalog
from app.middleware.response_cache import ResponseCache
from tests.conftest import client_of
from tests.properties.callers import Callers, Clock
from tests.properties.histories import NOBODY, Again, Ask, ByEveryone, Change, InAllWays, Race, Step, Write
from tests.properties.issuers import CatalogIssuer, Cloud, NoIssuer
from tests.properties.other_process import OtherProcess, empty, write
from tests.properties.reference import is_listed, is_marker
from tests.support.images import Fields, image_id

P = ParamSpec("P")
T = TypeVar("T")

CHANGES_EACH_TIME = {"date", "x-compute-request-id", "x-openstack-request-id"}
REFUSALS = {401: "unauthorized", 403: "forbidden", 503: "serviceUnavailable"}


class Told(NamedTuple):
    """What a client is told, to the byte; but for what is new in every answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Give the value of a header, if it comes."""
        return dict(self.headers).get(name)


class Keeper(NamedTuple):
    """An application that keeps answers, and believes Keystone's word for some seconds."""

    client: TestClient
    answers: ResponseCache
    seconds: int


class Right(NamedTuple):
    """What may be told at a moment."""

    now: Told  # by who remembers nothing
    shown: Told | None  # to who may ask, if anyone may
    lately: dict[int, set[int]]  # the statuses of what was right in the last seconds

    def allows(self, told: Told, seconds: int) -> bool:
        """Tell whether this may be told by who believes for some seconds what was said of a token."""
        if is_refusal(told):
            return told == self.now or told.status in self.lately[seconds]
        return told == self.shown and (self.now == self.shown or 200 in self.lately[seconds])


class Rig:
    """A catalog that another process writes, and applications that answer from it."""

    callers: Callers
    truth: TestClient  # it remembers nothing
    open: TestClient  # it asks nobody who is calling, and remembers nothing

    def __init__(self, auth: str, other: OtherProcess) -> None:
        self.auth = auth
        self.other = other
        self.keepers: list[Keeper] = []
        self._meanwhile: dict[str, Sequence[Step]] = {}
        self._asked: dict[tuple[Ask, str | None], str | None] = {}
        self._images: dict[str, Fields] = {}

    def restart(self) -> None:
        """Forget all that was asked, and begin with no image, and with new tokens."""
        self._asked.clear()
        self._images.clear()
        self.other(empty)
        self.callers.restart()

    def step(self, step: Step) -> None:
        """Do one step, and check what each application says."""
        match step:
            case Write():
                self.other(write, step.images, owner=step.owner, prune=step.prune)
                self._images |= {each["id"]: each for each in step.images}
            case Change():
                self.change(step)
            case Ask():
                self.ask(step, self.callers.tokens.get(step.caller))
            case InAllWays() | ByEveryone():
                for ask in step.asks():
                    self.step(ask)
            case Again():
                for (ask, token), etag in list(self._asked.items()):
                    self.ask(ask, token, etag if step.knowing else None)
            case _:
                self.callers.step(step)

    def ask(self, ask: Ask, token: str | None, etag: str | None = None) -> None:
        """Check that all say what is right, and still do when they are asked twice."""
        right = self.right(ask, token, etag)
        for keeper in self.keepers * (1 if is_refusal(right.now) else 2):
            assert right.allows(tell(keeper.client, ask, token, etag), keeper.seconds)
        if etag is None:
            self._asked[ask, token] = right.now.header("etag")

    def right(self, ask: Ask, token: str | None, etag: str | None = None) -> Right:
        """Give what may be told now; and check that who remembers nothing does tell it."""
        lately = {
            keeper.seconds: {each.reads(ask.tenant) for each in self.callers.lately(token, keeper.seconds)}
            for keeper in self.keepers
        }
        now = tell(self.truth, ask, token, etag)
        status = self.callers.standing(token).reads(ask.tenant)
        if status != 200:
            assert (now.status, is_refusal(now)) == (status, True)
        shown = self.shown(ask, etag) if 200 in {status}.union(*lately.values()) else None
        if status == 200:
            assert now == shown
            self.check_encoding(ask, token, now)
        return Right(now, shown, lately)

    def shown(self, ask: Ask, etag: str | None) -> Told:
        """Give what is told to who may ask, and check that it tells of no image that is not for the tenant."""
        shown = tell(self.open, ask, None, etag)
        for image in told_of(ask, shown):
            sees = is_marker if ask.target.startswith("/0") else is_listed
            assert sees(self._images[image], ask.tenant)
        return shown

    def check_encoding(self, ask: Ask, token: str | None, told: Told) -> None:
        """Check that an answer says the same in whatever encoding."""
        if told.header("content-encoding") and told.body:
            plain = tell(self.truth, ask._replace(encoding="identity"), token)
            assert gzip.decompress(told.body) == plain.body

    def change(self, change: Change) -> None:
        """Have one of the applications do it, in a thread of its own, and check that it does if it may."""
        token, keeper = self.callers.tokens.get(change.caller), self.keepers[0]
        url = f"/v2/{change.tenant}/images/{image_id(change.number)}"
        seen = tell(self.open, Ask(NOBODY, change.tenant, f"/{image_id(change.number)}")).status == 200
        image = self._images[image_id(change.number)] if seen else None
        standings = [self.callers.standing(token), *self.callers.lately(token, keeper.seconds)]
        if change.method == "DELETE":
            answer = keeper.client.delete(url, headers=as_header(token))
        else:
            answer = keeper.client.request(
                change.method, f"{url}/metadata", json={"metadata": change.items}, headers=as_header(token)
            )
        status = 200 if answer.status_code == 204 else answer.status_code
        assert status in {standing.changes(change.tenant, image) for standing in standings}

    def race(self, keeper: Keeper, race: Race, *afterwards: Step) -> None:
        """Check that what happens in the middle of a request is seen by its answer whole, or not at all."""
        self.restart()
        self.step(race.start)
        for asked in race.asked:
            self.step(asked)
        token = self.callers.tokens.get(race.ask.caller)
        before = self.right(race.ask, token)
        self._meanwhile[race.moment] = race.meanwhile
        told = tell(keeper.client, race.ask, token)
        self.interrupt(race.moment)  # which did not come: the answer was kept, or it is a fault
        after = self.right(race.ask, token)
        assert before.allows(told, keeper.seconds) or after.allows(told, keeper.seconds)
        for afterward in (race.ask, *afterwards):
            self.step(afterward)

    def interrupt(self, moment: str) -> None:
        """Do what waits for this moment of a request."""
        for step in self._meanwhile.pop(moment, ()):
            self.step(step)


def tell(client: TestClient, ask: Ask, token: str | None = None, etag: str | None = None) -> Told:
    headers = {"Host": ask.host, "Accept-Encoding": ask.encoding, **as_header(token)}
    if etag is not None:
        headers["If-None-Match"] = etag
    url = f"{ask.scheme}://compute.test/v2/{ask.tenant}/images{ask.target}"
    with client.stream(ask.method, url, headers=headers) as answer:
        body = b"".join(answer.iter_raw())
    told = [(name, value) for name, value in answer.headers.multi_items() if name not in CHANGES_EACH_TIME]
    return Told(answer.status_code, told, body)


def as_header(token: str | None) -> dict[str, str]:
    return {} if token is None else {"X-Auth-Token": token}


def is_refusal(told: Told) -> bool:
    """Tell whether a client is told that it may not ask, and nothing else; of the answer to HEAD, the status tells."""
    return told.status in REFUSALS and (not told.body or list(orjson.loads(told.body)) == [REFUSALS[told.status]])


def told_of(ask: Ask, told: Told) -> list[str]:
    """Give the images that an answer tells of."""
    if told.status != 200 or ask.method == "HEAD":
        return []
    if ask.target.startswith("/0"):
        return [ask.target.split("/")[1]]
    body = gzip.decompress(told.body) if told.header("content-encoding") else told.body
    return [each["id"] for each in orjson.loads(body)["images"]]


@contextmanager
def running(catalog: Path, auth: str) -> Iterator[Rig]:
    """Start the other process and the applications: two remember nothing, one keeps all, one very little."""
    ensure_catalog(catalog, list)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        clock = Clock()
        rig = Rig(auth, stack.enter_context(closing(OtherProcess(catalog))))
        rig.callers = callers_of(rig, auth, clock, catalog)
        for module in (identity, keystone):
            patch.setattr(module, "time", clock)
        patch.setattr(keystone, "KeystoneClient", lambda: rig.callers)
        rig.truth = stack.enter_context(client_of(catalog, auth=auth, verdict_seconds=0, answers_mb=0))
        rig.open = stack.enter_context(client_of(catalog, answers_mb=0))
        for where, name, what in (
            (images, "list_images", "query"),
            (images, "list_images_details", "query"),
            (images, "show_image", "query"),
            (identity, "find_token", "verdict"),
            (identity.TokenAuthenticator, "identify", "identity"),
        ):
            patch.setattr(where, name, interrupted(rig, what, getattr(where, name)))
        for bound, seconds in ((1_000_000, 60), (6_000, 30)):
            built: list[ResponseCache] = []
            patch.setattr(factory, "ResponseCache", building(built, bound))
            client = stack.enter_context(client_of(catalog, auth=auth, verdict_seconds=seconds))
            rig.keepers.append(Keeper(client, built[0], seconds))
        yield rig


def callers_of(rig: Rig, auth: str, clock: Clock, catalog: Path) -> Callers:
    match auth:
        case "token":
            return CatalogIssuer(clock, catalog, rig.other)
        case "keystone":
            return Cloud(clock, rig.interrupt)
    return NoIssuer(clock)


def building(built: list[ResponseCache], bound: int) -> Callable[..., ResponseCache]:
    def build(next_app: ASGIApp, **options: Any) -> ResponseCache:
        built.append(ResponseCache(next_app, **options | {"bound": bound}))
        return built[-1]

    return build


def interrupted(rig: Rig, what: str, function: Callable[P, T]) -> Callable[P, T]:
    @wraps(function)
    def interrupted(*args: P.args, **kwargs: P.kwargs) -> T:
        rig.interrupt(f"before the {what}")
        result = function(*args, **kwargs)
        rig.interrupt(f"after the {what}")
        return result

    return interrupted
