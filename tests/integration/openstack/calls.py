"""Requests to the service with tokens."""

import orjson

from tests.integration.server.service import Service
from tests.integration.server.wire import Response, fetch, request
from tests.support.images import Fields


def build_request(token: str, target: str, *, method: str = "GET", document: Fields | None = None) -> bytes:
    """Return the bytes of a request with a token, which may be any text, and maybe with a JSON body."""
    body = b"" if document is None else orjson.dumps(document)
    headers = ("Content-Type: application/json", f"Content-Length: {len(body)}") if body else ()
    head = request(target, *headers, method=method).removesuffix(b"\r\n")
    return head + b"X-Auth-Token: " + token.encode() + b"\r\n\r\n" + body


def call(service: Service, token: str, target: str, *, method: str = "GET", document: Fields | None = None) -> Response:
    return fetch(service.port, build_request(token, target, method=method, document=document))
