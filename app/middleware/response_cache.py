"""Answers, kept: one that passed the contract is served again, as bytes, while what it depends on is as it was.

An answer depends on its request (path, query, and the host that links may begin with), on who is calling, and on the
catalog, and on nothing else; it is given while the catalog is fresh. Each has a strong ETag, by which a client that has
it already is told no more than that.
"""

import asyncio
import logging
from collections import OrderedDict
from http import HTTPStatus
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.base import Authenticator, Caller
from app.catalog.models import Version
from app.catalog.sqlite.reader import CatalogReader
from app.errors import CatalogUnavailable
from app.middleware.stored_response import Header, StoredResponse, accepts_gzip, send_stored, store_response
from app.mirror.staleness import StalenessMonitor

_log = logging.getLogger(__name__)

_KEY_HEADERS = (b"host", b"accept-encoding", b"if-none-match")
_ENTRY_OVERHEAD_BYTES = 1000  # bytes, about, that an answer takes beside its own


# What an answer depends on in its request: path, query, scheme, host, and whether it may be compressed.
RequestKey = tuple[bytes, bytes, str, bytes, bool]
CacheKey = tuple[Caller, RequestKey]


class CacheRequest(NamedTuple):
    """A request, as far as its answer depends on it: what is asked, with which token, by a client that has what."""

    asked: RequestKey
    token: bytes
    if_none_match: bytes


class CacheStats(NamedTuple):
    """What keeping answers did for a worker: how many were kept ones, how many had to be made, and what is kept."""

    hits: int
    misses: int
    entries: int
    bytes: int


class ResponseCache:
    """Gives kept answers in front of the application, and keeps those that it gives."""

    def __init__(
        self,
        next_app: ASGIApp,
        catalog: CatalogReader,
        identity: Authenticator,
        freshness: StalenessMonitor,
        bound: int,
    ) -> None:
        """Take how many bytes the kept answers may have in memory; with none, no answer is kept."""
        self._next_app = next_app
        self._catalog = catalog
        self._identity = identity
        self._freshness = freshness
        self._mattering = {*_KEY_HEADERS, identity.header}
        self._bound = bound
        self._kept: OrderedDict[CacheKey, StoredResponse] = OrderedDict()
        self._version: Version | None = None
        self._looked = False
        self._bytes = self._hits = self._misses = 0

    @property
    def statistics(self) -> CacheStats:
        """Count what was asked of this worker."""
        return CacheStats(self._hits, self._misses, len(self._kept), self._bytes)

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
        await send_stored(answer, if_none_match, scope["method"], send)

    def _read(self, scope: Scope) -> CacheRequest:
        """Give what the answer to a request depends on."""
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in self._mattering:
                found[name] = found[name] + b"," + value if name in found else value
        host, compressed = found.get(b"host", b""), accepts_gzip(found.get(b"accept-encoding", b""))
        asked = (scope["raw_path"], scope["query_string"], scope["scheme"], host, compressed)
        return CacheRequest(asked, found.get(self._identity.header, b""), found.get(b"if-none-match", b""))

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

    def _find(self, key: CacheKey) -> StoredResponse | None:
        answer = self._kept.get(key)
        if answer is None:
            return None
        self._hits += 1
        self._kept.move_to_end(key)
        return answer

    async def _ask(self, asked: RequestKey, scope: Scope, receive: Receive, send: Send) -> StoredResponse | None:
        """Have the application answer. Give what passed the contract; anything else is sent on as it comes."""
        state = scope["state"]
        state["answers"] = self
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)
            to_keep = (
                "checked" in state
                and held[0].get("status") == HTTPStatus.OK
                and not _has_cache_control(held[0]["headers"])
            )
            if message["type"] == "http.response.body" and not to_keep:
                while held:
                    await send(held.pop(0))

        await self._next_app({**scope, "method": "GET"}, receive, hold)
        if not held:
            return None
        start, body = held
        return store_response(start["headers"], body["body"], compressed=asked[-1])

    def _keep(self, key: CacheKey, answer: StoredResponse) -> None:
        size = _size(key, answer)
        if size > self._bound:
            return
        self._forget(key)
        while self._bytes + size > self._bound:
            self._forget(next(iter(self._kept)))  # the one that was not asked for longest
        self._kept[key] = answer
        self._bytes += size

    def _forget(self, key: CacheKey) -> None:
        if key in self._kept:
            self._bytes -= _size(key, self._kept.pop(key))


def _has_cache_control(headers: list[Header]) -> bool:
    """Tell whether an answer says itself how long it holds."""
    return any(name == b"cache-control" for name, _ in headers)


def _size(key: CacheKey, answer: StoredResponse) -> int:
    path, query, _, host, _ = key[1]
    return len(answer.body) + len(path) + len(query) + len(host) + _ENTRY_OVERHEAD_BYTES
