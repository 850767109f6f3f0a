"""Answers, kept: one that passed the contract is served again, as bytes, while what it depends on is as it was.

An answer depends on its request (path, query, and the host that links may begin with), on who is calling, and on the
catalog, and on nothing else; it is given while the catalog is fresh. Each has a strong ETag, by which a client that has
it already is told no more than that.
"""

import asyncio
import gzip
import hashlib
import logging
from collections import OrderedDict
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from werkzeug.http import parse_accept_header, parse_etags

from app.catalog import Catalog, Version
from app.faults import CatalogUnavailable
from app.freshness import Freshness
from app.identity import Caller, Identity

_log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

_MATTERING = (b"host", b"accept-encoding", b"if-none-match")
_OVERHEAD = 1000  # bytes, about, that an answer takes beside its own
_WORTH_COMPRESSING = 1000  # bytes
_SHORT = 200  # bytes
_FASTEST = 1  # of gzip's levels: on these answers it saves nearly as much as the others, in a fraction of their time

# Nobody may keep an answer for another project, nor use one without asking whether it still holds.
_FRESHNESS = [(b"cache-control", b"private, no-cache"), (b"vary", b"accept-encoding")]


# What an answer depends on in its request: path, query, scheme, host, and whether it may be compressed.
Asked = tuple[bytes, bytes, str, bytes, bool]
Key = tuple[Caller, Asked]


class Question(NamedTuple):
    """A request, as far as its answer depends on it: what is asked, with which token, by a client that has what."""

    asked: Asked
    token: bytes
    if_none_match: bytes


class Answer(NamedTuple):
    """An answer as it goes out, whole or to those who have it."""

    whole: list[Header]
    unchanged: list[Header]
    body: bytes
    etag: str

    def is_known(self, if_none_match: bytes) -> bool:
        """Tell whether a client that sends this has the answer: most send back the one ETag that they were given."""
        if if_none_match == self.unchanged[0][1]:
            return True
        return parse_etags(if_none_match.decode("latin-1")).contains_weak(self.etag)


class Statistics(NamedTuple):
    """What keeping answers did for a worker: how many were kept ones, how many had to be made, and what is kept."""

    hits: int
    misses: int
    kept: int
    bytes: int


class Answers:
    """Gives kept answers in front of the application, and keeps those that it gives."""

    def __init__(
        self, next_app: ASGIApp, catalog: Catalog, identity: Identity, freshness: Freshness, bound: int
    ) -> None:
        """Take how many bytes the kept answers may have in memory; with none, no answer is kept."""
        self._next_app = next_app
        self._catalog = catalog
        self._identity = identity
        self._freshness = freshness
        self._mattering = {*_MATTERING, identity.header}
        self._bound = bound
        self._kept: OrderedDict[Key, Answer] = OrderedDict()
        self._version: Version | None = None
        self._looked = False
        self._bytes = self._hits = self._misses = 0

    @property
    def statistics(self) -> Statistics:
        """Count what was asked of this worker."""
        return Statistics(self._hits, self._misses, len(self._kept), self._bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a read with what is kept, or with what the application says; HEAD as GET, but for the body."""
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            await self._answer(scope, receive, send)
            return
        await self._next_app(scope, receive, send)
        if scope["type"] == "lifespan":
            _log.info("answers of this worker: %s", self.statistics)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked, token, if_none_match = self._read(scope)
        version = self._look()  # before the query: what changes after it is found by the next request
        caller = self._identity.known(token, version)
        fresh = scope.setdefault("state", {})["fresh"] = self._freshness.holds(version)
        answer = self._find((caller, asked)) if fresh and caller is not None else None
        if answer is None:
            answer = await self._ask(asked, scope, receive, send)
            if answer is None:  # a fault, or something that is no operation's answer: it is sent
                return
            self._misses += 1
            caller = scope["state"].get("caller", caller)  # security may have found out who it is
            if caller is not None and version is not None and version == self._version:  # else there was a change
                self._keep((caller, asked), answer)
        await _send(answer, if_none_match, scope["method"], send)

    def _read(self, scope: Scope) -> Question:
        """Give what the answer to a request depends on."""
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in self._mattering:
                found[name] = found[name] + b"," + value if name in found else value
        host, compressed = found.get(b"host", b""), _takes_gzip(found.get(b"accept-encoding", b""))
        asked = (scope["raw_path"], scope["query_string"], scope["scheme"], host, compressed)
        return Question(asked, found.get(self._identity.header, b""), found.get(b"if-none-match", b""))

    def _look(self) -> Version | None:
        """Look at the catalog, and forget the answers that were made from another version of it.

        One look serves all requests of a round of the event loop: they had all come in before the round began, so none
        of them can know of a change that came after it.
        """
        if self._looked:
            return self._version
        self._looked = True
        asyncio.get_running_loop().call_soon(self._look_again)
        try:
            version = self._catalog.version()
        except CatalogUnavailable:  # the application will say so
            version = None
        if version is None or version != self._version:
            self._kept.clear()
            self._bytes = 0
            self._version = version
        return version

    def _look_again(self) -> None:
        self._looked = False

    def _find(self, key: Key) -> Answer | None:
        answer = self._kept.get(key)
        if answer is None:
            return None
        self._hits += 1
        self._kept.move_to_end(key)
        return answer

    async def _ask(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """Have the application answer. Give what passed the contract; anything else is sent on as it comes."""
        state = scope["state"]
        state["answers"] = self
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)
            to_keep = "checked" in state and held[0].get("status") == HTTPStatus.OK and not _forbids(held[0]["headers"])
            if message["type"] == "http.response.body" and not to_keep:
                while held:
                    await send(held.pop(0))

        await self._next_app({**scope, "method": "GET"}, receive, hold)
        if not held:
            return None
        start, body = held
        return _answer(start["headers"], body["body"], compressed=asked[-1])

    def _keep(self, key: Key, answer: Answer) -> None:
        size = _size(key, answer)
        if size > self._bound:
            return
        self._forget(key)
        while self._bytes + size > self._bound:
            self._forget(next(iter(self._kept)))  # the one that was not asked for longest
        self._kept[key] = answer
        self._bytes += size

    def _forget(self, key: Key) -> None:
        if key in self._kept:
            self._bytes -= _size(key, self._kept.pop(key))


def _forbids(headers: list[Header]) -> bool:
    """Tell whether an answer says itself how long it holds."""
    return any(name == b"cache-control" for name, _ in headers)


def _size(key: Key, answer: Answer) -> int:
    path, query, _, host, _ = key[1]
    return len(answer.body) + len(path) + len(query) + len(host) + _OVERHEAD


def _takes_gzip(accept_encoding: bytes) -> bool:
    """Tell whether a client takes gzip. What is long is no client's own, and not kept in memory."""
    return _prefers(accept_encoding) if len(accept_encoding) <= _SHORT else _prefers.__wrapped__(accept_encoding)


@lru_cache(maxsize=256)
def _prefers(accept_encoding: bytes) -> bool:
    return parse_accept_header(accept_encoding.decode("latin-1")).quality("gzip") > 0


def _answer(headers: list[Header], body: bytes, *, compressed: bool) -> Answer:
    etag = hashlib.sha256(body).hexdigest()[:32]
    described = [header for header in headers if header[0] != b"content-length"]
    if compressed and len(body) >= _WORTH_COMPRESSING:
        body = gzip.compress(body, _FASTEST, mtime=0)
        etag += "-gzip"
        described.append((b"content-encoding", b"gzip"))
    described.append((b"content-length", str(len(body)).encode()))
    unchanged = [(b"etag", f'"{etag}"'.encode()), *_FRESHNESS]
    return Answer([*unchanged, *described], unchanged, body, etag)


async def _send(answer: Answer, if_none_match: bytes, method: str, send: Send) -> None:
    if if_none_match and answer.is_known(if_none_match):
        await send({"type": "http.response.start", "status": 304, "headers": answer.unchanged})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": answer.whole})
        await send({"type": "http.response.body", "body": answer.body if method == "GET" else b""})
