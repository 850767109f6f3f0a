"""Response cache. A validated response is stored as bytes, and reused until the data it depends on changes.

This data is the request (path, query, and the scheme and host that links begin with), the caller, and the catalog. The
cache is not used while the catalog is a stale replica.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.base import Authenticator
from app.catalog.engine import Engine, current_version
from app.catalog.errors import CatalogUnavailable
from app.catalog.models import Version
from app.context import ANONYMOUS, Caller, RequestContext
from app.middleware.stored_response import Header, StoredResponse, accepts_gzip, send_stored, store_response
from app.mirror.staleness import StalenessMonitor

if TYPE_CHECKING:
    from app.catalog.image_parts import PartStore

CACHE_EXTENSION = "response-cache"  # the key of the cache among Flask's extensions, where the server finds it
CATALOG_VERSION = "catalog-version"  # the key, in the state of a request, of the version that the server has read
_KEY_HEADERS = (b"host", b"accept-encoding", b"if-none-match")
_MAX_LOOP_BYTES = 1_000_000  # of a body that is hashed and compressed on the event loop
_ENTRY_OVERHEAD_BYTES = 1000  # approximate memory of an entry in addition to its body and its key

RequestKey = tuple[bytes, bytes, str, bytes, bool]  # path, query, scheme, host, and whether gzip is accepted
CacheKey = tuple[Caller, RequestKey]
# Plain tuples: named tuples would take 0.7 µs more for each cached response.
CacheRequest = tuple[RequestKey, bytes, bytes]  # key, token, If-None-Match
# The caller (None if the token has to be validated first), whether the catalog is fresh, and the stored response.
Lookup = tuple[Caller | None, bool, StoredResponse | None]


class ResponseStore:
    """Stored responses, bounded in memory: the least recently used is evicted first.

    The memory of the part stores counts towards the bound.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.part_stores: Sequence[PartStore] = ()
        self._responses: OrderedDict[CacheKey, StoredResponse] = OrderedDict()
        self.bytes = 0  # the memory of the stored responses
        self.on_invalidate: Callable[[], None] = lambda: None

    @property
    def entries(self) -> int:
        """The number of stored responses."""
        return len(self._responses)

    def lookup(self, key: CacheKey) -> StoredResponse | None:
        """Return a stored response, None if there is none."""
        response = self._responses.get(key)
        if response is not None:
            self._responses.move_to_end(key)
        return response

    def store(self, key: CacheKey, response: StoredResponse) -> None:
        """Store a response in place of the least recently used ones, unless it is too large."""
        self._evict(key)
        size = _size(key, response)
        if size > self.max_bytes - self._part_bytes():
            self.make_room()
        else:
            self.make_room(size)
            self._responses[key] = response
            self.bytes += size

    def make_room(self, size: int = 0) -> None:
        """Evict responses that exceed the bound together with the parts and with a response of the given size."""
        max_bytes = self.max_bytes - self._part_bytes() - size
        while self._responses and self.bytes > max_bytes:
            self._evict(next(iter(self._responses)))

    def invalidate(self) -> None:
        """Remove all responses, because the catalog has changed."""
        self._responses.clear()
        self.bytes = 0
        self.on_invalidate()

    def _part_bytes(self) -> int:
        return sum(each.bytes for each in self.part_stores)

    def _evict(self, key: CacheKey) -> None:
        if key in self._responses:
            self.bytes -= _size(key, self._responses.pop(key))


class ResponseCache:
    """Finds and stores the responses to reads, as long as what they depend on does not change."""

    def __init__(  # noqa: PLR0913 each is a part of the application
        self,
        store: ResponseStore,
        engine: Engine,
        authenticator: Authenticator,
        staleness: StalenessMonitor,
        *,
        independent: Iterable[str],
        on_change: Callable[[], None],
    ) -> None:
        """Set the paths whose responses do not depend on the catalog, and what is called after the catalog changed."""
        self.independent = frozenset(path.encode() for path in independent)
        self.headers = frozenset({*_KEY_HEADERS, authenticator.header})
        self.engine = engine
        self.store = store
        self._authenticator = authenticator
        self.staleness = staleness
        self._on_change = on_change
        self._token_header = authenticator.header
        self.version: Version | None = None  # of the catalog that the stored responses were built from

    def parse_request(self, path: bytes, query: bytes, scheme: str, headers: Iterable[Header]) -> CacheRequest:
        """Return the key, the token and the If-None-Match header of a request."""
        values: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in self.headers:
                values[name] = values[name] + b"," + value if name in values else value
        host, gzip = values.get(b"host", b""), accepts_gzip(values.get(b"accept-encoding", b""))
        key = path, query, scheme, host, gzip
        return key, values.get(self._token_header, b""), values.get(b"if-none-match", b"")

    def lookup(self, key: RequestKey, token: bytes, version: Version | None) -> Lookup:
        """Look up the response to a request that arrived before the catalog's version was read."""
        if version != self.version:
            self.store.invalidate()
            self._on_change()
            self.version = version
        caller = self._authenticator.cached_caller(token, version)
        is_fresh = self.staleness.is_fresh(version)
        response = self.store.lookup((caller, key)) if is_fresh and caller is not None else None
        return caller, is_fresh, response

    def add(self, caller: Caller, key: RequestKey, version: Version | None, response: StoredResponse) -> None:
        """Store a response, unless the catalog has changed since its version was read."""
        if version is not None and version == self.version:
            self.store.store((caller, key), response)
        else:
            self.store.make_room()  # the response may have stored parts of images


class ResponseCacheMiddleware:
    """Serves GET and HEAD requests from stored responses, and stores the validated responses of the application."""

    def __init__(self, next_app: ASGIApp, cache: ResponseCache) -> None:
        self._next_app = next_app
        self._cache = cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a read, or pass the request on. HEAD is served as GET without the body."""
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            await self._serve(scope, receive, send)
        else:
            await self._next_app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, token, if_none_match = self._cache.parse_request(
            scope["raw_path"], scope["query_string"], scope["scheme"], scope["headers"]
        )
        version = await self._version_for(scope)  # before the query, so that the next request notices any later change
        context = RequestContext.of(scope)
        caller, context.is_fresh, response = self._cache.lookup(key, token, version)
        if response is None:
            response = await self._forward(key, scope, receive, send)
            if response is None:  # it cannot be stored, and has been sent
                self._cache.store.make_room()
                return
            context.cache_result = "miss"
            self._cache.add(context.authenticated or caller or ANONYMOUS, key, version, response)
        else:
            context.operation, context.cache_result = response.operation, "hit"
        await send_stored(response, if_none_match, scope["method"], send)

    async def _version_for(self, scope: Scope) -> Version | None:
        """Return the version of the catalog; None if the catalog is unavailable, which the application will report.

        For a path that does not depend on the catalog, return the version of the stored responses.
        """
        if scope["raw_path"] in self._cache.independent:
            return self._cache.version
        try:
            version = scope["state"].get(CATALOG_VERSION) or await current_version(self._cache.engine)
        except CatalogUnavailable:
            return None
        await self._cache.staleness.refresh(version)
        return version

    async def _forward(self, key: RequestKey, scope: Scope, receive: Receive, send: Send) -> StoredResponse | None:
        """Return the application's response if it can be stored; send it unchanged otherwise."""
        context = RequestContext.of(scope)
        buffered: list[Message] = []

        async def buffer(message: Message) -> None:
            buffered.append(message)
            if message["type"] == "http.response.body" and not (context.is_validated and _is_storable(buffered[0])):
                while buffered:
                    await send(buffered.pop(0))

        await self._next_app({**scope, "method": "GET"}, receive, buffer)
        if not buffered:
            return None
        start, body = buffered
        store = partial(store_response, start["headers"], body["body"], context.operation, compress=key[-1])
        return await run_in_threadpool(store) if len(body["body"]) > _MAX_LOOP_BYTES else store()


def _is_storable(start: Message) -> bool:
    return start.get("status") == HTTPStatus.OK and b"cache-control" not in dict(start["headers"])


def _size(key: CacheKey, response: StoredResponse) -> int:
    path, query, _, host, _ = key[1]
    return len(response.body) + len(path) + len(query) + len(host) + _ENTRY_OVERHEAD_BYTES
