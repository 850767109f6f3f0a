"""Responses from the response cache that are sent without running the application."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from app.catalog.errors import CatalogUnavailable
from app.catalog.models import Version
from app.context import BEGIN
from app.middleware.access_log import ACCESS_LOG
from app.middleware.request_id import common_headers, request_ids
from app.middleware.response_cache import CATALOG_VERSION, ResponseCache
from app.middleware.stored_response import format_headers
from app.server.proxy_headers import PROXY_HEADERS
from app.server.request_head import Headers

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

# Headers on which a response from the cache does not depend.
_IRRELEVANT_HEADERS = frozenset(
    {
        *(b"accept", b"accept-language", b"cache-control", b"connection", b"content-type", b"dnt", b"pragma"),
        *(b"priority", b"traceparent", b"tracestate", b"user-agent", b"openstack-api-version"),
        *(b"forwarded", b"via", b"x-forwarded-host", b"x-forwarded-port", b"x-real-ip"),
        *(b"x-auth-project-id", b"x-auth-token", b"x-openstack-nova-api-version", b"x-openstack-request-id"),
    }
)
# The head of a response: its status, the server's headers, its own ones, and those that RequestIdMiddleware adds, with
# the request id twice. To format those headers one by one for each response would take 0.6 µs more.
_HEAD = b"HTTP/1.1 %b\r\n%b%b" + format_headers(common_headers("%b")) + b"\r\n"


class RawResponse(NamedTuple):
    """The bytes of a response."""

    head: bytes
    body: bytes


class PendingResponse(NamedTuple):
    """A response that can be built once the version of the catalog is known.

    Waiting for it here takes half of the CPU time of starting the application: 43 instead of 82 µs for each request,
    with 32 connections.
    """

    version: asyncio.Future[Version]  # of the catalog
    has_access_log: bool  # a logged request is completed even if its client disconnects meanwhile


class CachedResponses:
    """Builds the responses of a worker to requests for which the response cache has a stored response.

    For such a request, running the application, with its task and the ASGI messages between its layers, takes most of
    the time. This class responds to those that need nothing else from the application.
    """

    def __init__(
        self,
        cache: ResponseCache,
        apply_proxy_headers: Callable[["HTTPScope"], None],
        record: Callable[[str, int, float], None] | None = None,
    ) -> None:
        """Set the callbacks.

        `apply_proxy_headers` sets the scheme and the client of a request from the headers of trusted proxies. `record`
        is called with the operation, the status and the duration in seconds of each response.
        """
        self._cache = cache
        self._headers = cache.headers | _IRRELEVANT_HEADERS | PROXY_HEADERS
        self._apply_proxy_headers = apply_proxy_headers
        self._record = record
        self._ids = request_ids()
        self._server_headers: Headers = []
        self._server_head = b""

    def build(self, scope: "HTTPScope", server_headers: Headers) -> RawResponse | PendingResponse | None:
        """Return the response to a request without a body, or None if the application has to respond.

        `server_headers` are the headers that the server adds to each response. If the engine has to wait for the
        version of the catalog, the response is pending: pass it to `complete` when its version is known.
        """
        scope["state"][BEGIN] = perf_counter()
        try:
            version = self._version_for(scope)
        except CatalogUnavailable:  # the application will report it
            return None
        if isinstance(version, asyncio.Future):
            return PendingResponse(version, ACCESS_LOG in scope["state"])
        return self._build(version, scope, server_headers)

    def complete(self, pending: PendingResponse, scope: "HTTPScope", server_headers: Headers) -> RawResponse | None:
        """Return a pending response whose version is known now, or None if the application has to respond.

        The application finds the version in the state of the request, which saves it one of three round trips to the
        database. The version is as current as one that it would read itself: it was read after the request arrived.
        """
        if pending.version.exception():  # the application will report it
            return None
        version = scope["state"][CATALOG_VERSION] = pending.version.result()
        return self._build(version, scope, server_headers)

    def _build(self, version: Version | None, scope: "HTTPScope", server_headers: Headers) -> RawResponse | None:
        if version is None:
            return None
        path, query, scheme, headers = scope["raw_path"], scope["query_string"], scope["scheme"], scope["headers"]
        key, token, if_none_match = self._cache.parse_request(path, query, scheme, headers)
        _, _, response = self._cache.lookup(key, token, version)
        if response is None:
            return None
        if if_none_match and response.matches(if_none_match):
            status, reason, head, body = 304, b"304 Not Modified", response.not_modified_head, b""
        else:
            status, reason, head = 200, b"200 OK", response.head
            body = response.body if scope["method"] == "GET" else b""
        request_id, seconds = next(self._ids), perf_counter() - scope["state"][BEGIN]
        if self._record:
            self._record(response.operation, status, seconds)
        if log := scope["state"].get(ACCESS_LOG):  # adds 4 to 8 µs to 32; the application would add 55
            log.log(scope, request_id, status, len(body), seconds)
        return RawResponse(self._head(reason, server_headers, head, request_id), body)

    def _version_for(self, scope: "HTTPScope") -> Version | asyncio.Future[Version] | None:
        """Return the version of the catalog, or None if the cache cannot serve the request."""
        if scope["method"] not in {"GET", "HEAD"} or not self._can_serve(scope):
            return None
        cache = self._cache
        return cache.version if scope["raw_path"] in cache.independent else cache.engine.version()

    def _can_serve(self, scope: "HTTPScope") -> bool:
        """Return whether the cache alone can handle the headers. Set the scheme and the client that a proxy states."""
        names = [name for name, _ in scope["headers"]]
        if not self._headers.issuperset(names):
            return False
        if not PROXY_HEADERS.isdisjoint(names):
            self._apply_proxy_headers(scope)
        return True

    def _head(self, status: bytes, server_headers: Headers, head: bytes, request_id: str) -> bytes:
        if server_headers is not self._server_headers:  # they change once a second, because they contain the date
            self._server_headers, self._server_head = server_headers, format_headers(server_headers)
        encoded = request_id.encode()
        return _HEAD % (status, self._server_head, head, encoded, encoded)
