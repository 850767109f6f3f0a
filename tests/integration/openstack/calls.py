"""Calls of the service, with tokens."""

import orjson

from tests.integration.server.service import Service
from tests.integration.server.wire import Answer, ask, request
from tests.support.images import Fields


def calling(token: str, target: str, *, method: str = "GET", document: Fields | None = None) -> bytes:
    """Write a request with a token, which may be any text, and maybe with a body."""
    body = b"" if document is None else orjson.dumps(document)
    headers = ("Content-Type: application/json", f"Content-Length: {len(body)}") if body else ()
    head = request(target, *headers, method=method).removesuffix(b"\r\n")
    return head + b"X-Auth-Token: " + token.encode() + b"\r\n\r\n" + body


def call(service: Service, token: str, target: str, *, method: str = "GET", document: Fields | None = None) -> Answer:
    """Call the service with a token."""
    return ask(service.port, calling(token, target, method=method, document=document))
