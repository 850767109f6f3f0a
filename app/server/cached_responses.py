"""Responses from the response cache that are sent without running the application."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from app.catalog.errors import CatalogUnavailable
from app.catalog.models import Version
from app.middleware.request_id import RequestIdGenerator, common_headers
from app.middleware.response_cache import CATALOG_VERSION, ResponseCache
from app.middleware.stored_response import format_headers
from app.server.request_head import Headers

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

_FORWARDED_SCHEME = b"x-forwarded-proto"
# Headers on which a response from the cache does not depend. The access log reads some of them; if it is enabled, the
# application responds to all requests.
_IRRELEVANT_HEADERS = frozenset(
    {
        *(b"accept", b"accept-language", b"cache-control", b"connection", b"content-type", b"dnt", b"pragma"),
        *(b"priority", b"traceparent", b"tracestate", b"user-agent", b"openstack-api-version"),
        *(b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-real-ip"),
        *(b"x-auth-project-id", b"x-auth-token", b"x-openstack-nova-api-version", b"x-openstack-request-id"),
    }
)


class RawResponse(NamedTuple):
    """The bytes of a response, and what the metrics record of it."""

    head: bytes
    body: bytes
    operation: str
    status: int


class PendingResponse(NamedTuple):
    """A response that can be built once the version of the catalog is known.

    Waiting for it here takes half of the CPU time of starting the application: 43 instead of 82 µs for each request,
    with 32 connections.
    """

    version: asyncio.Future[Version]  # of the catalog
    begin: float  # by perf_counter


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

        `apply_proxy_headers` sets the scheme of a request from the headers of trusted proxies. `record` is called with
        the operation, the status and the duration in seconds of each response.
        """
        self._cache = cache
        self._headers = cache.headers | _IRRELEVANT_HEADERS | {_FORWARDED_SCHEME}
        self._apply_proxy_headers = apply_proxy_headers
        self._record = record
        self._new_id = RequestIdGenerator()
        self._server_headers: Headers = []
        self._server_head = b""

    def build(self, scope: "HTTPScope", server_headers: Headers) -> RawResponse | PendingResponse | None:
        """Return the response to a request without a body, or None if the application has to respond.

        `server_headers` are the headers that the server adds to each response. If the engine has to wait for the
        version of the catalog, the response is pending: pass it to `complete` when its version is known.
        """
        begin = perf_counter()
        try:
            version = self._version_for(scope)
        except CatalogUnavailable:  # the application will report it
            return None
        if isinstance(version, asyncio.Future):
            return PendingResponse(version, begin)
        return self._recorded(self._build(version, scope, server_headers), begin)

    def complete(self, pending: PendingResponse, scope: "HTTPScope", server_headers: Headers) -> RawResponse | None:
        """Return a pending response whose version is known now, or None if the application has to respond.

        The application finds the version in the state of the request, which saves it one of three round trips to the
        database. The version is as current as one that it would read itself: it was read after the request arrived.
        """
        if pending.version.exception():  # the application will report it
            return None
        version = scope["state"][CATALOG_VERSION] = pending.version.result()
        return self._recorded(self._build(version, scope, server_headers), pending.begin)

    def _build(self, version: Version | None, scope: "HTTPScope", server_headers: Headers) -> RawResponse | None:
        if version is None:
            return None
        request = self._cache.parse_request(scope["raw_path"], scope["query_string"], scope["scheme"], scope["headers"])
        response = self._cache.lookup(request, version).response
        if response is None:
            return None
        if request.if_none_match and response.matches(request.if_none_match):
            head = self._head(b"304 Not Modified", server_headers, response.not_modified_head)
            return RawResponse(head, b"", response.operation, 304)
        body = response.body if scope["method"] == "GET" else b""
        return RawResponse(self._head(b"200 OK", server_headers, response.head), body, response.operation, 200)

    def _recorded(self, response: RawResponse | None, begin: float) -> RawResponse | None:
        if response and self._record:
            self._record(response.operation, response.status, perf_counter() - begin)
        return response

    def _version_for(self, scope: "HTTPScope") -> Version | asyncio.Future[Version] | None:
        """Return the version of the catalog, or None if the cache cannot serve the request."""
        if scope["method"] not in {"GET", "HEAD"} or not self._can_serve(scope):
            return None
        cache = self._cache
        return cache.version if scope["raw_path"] in cache.independent else cache.engine.version()

    def _can_serve(self, scope: "HTTPScope") -> bool:
        """Return whether only the cache has to read the headers. Set the scheme that a proxy states."""
        for name, _ in scope["headers"]:
            if name not in self._headers:
                return False
            if name == _FORWARDED_SCHEME:
                self._apply_proxy_headers(scope)
        return True

    def _head(self, status: bytes, server_headers: Headers, head: bytes) -> bytes:
        if server_headers is not self._server_headers:  # they change once a second, because they contain the date
            self._server_headers, self._server_head = server_headers, format_headers(server_headers)
        ids = format_headers(common_headers(self._new_id()))
        return b"HTTP/1.1 %b\r\n%b%b%b\r\n" % (status, self._server_head, head, ids)
