"""Headers of proxies: only those of trusted ones count."""

import asyncio
from typing import Any

import pytest

from app.server.proxy_headers import ProxyHeadersMiddleware

PROXY, OTHER, UNIX = ("127.0.0.1", 1), ("192.0.2.9", 1), None


@pytest.mark.parametrize(
    ("client", "headers", "scheme", "forwarded_for"),
    [
        (PROXY, [], "http", None),
        (PROXY, ["x-forwarded-proto: https"], "https", None),
        (PROXY, ["x-forwarded-proto: https, http"], "https", None),
        (PROXY, ["x-forwarded-proto: gopher"], "http", None),
        (PROXY, ["x-forwarded-for: 203.0.113.1"], "http", "203.0.113.1"),
        (PROXY, ["x-forwarded-for: 203.0.113.1:5000"], "http", "203.0.113.1"),
        (PROXY, ["x-forwarded-for: [2001:db8::1]:80", "x-forwarded-proto: https"], "https", "2001:db8::1"),
        (PROXY, ["x-forwarded-for: 198.51.100.7, 203.0.113.1, 127.0.0.1"], "http", "203.0.113.1"),
        (PROXY, [f"x-forwarded-for: 203.0.113.1{', 127.0.0.1' * 20}"], "http", "203.0.113.1"),
        (PROXY, ["x-forwarded-for: 198.51.100.7", "x-forwarded-for: 203.0.113.1"], "http", "203.0.113.1"),
        *((PROXY, [f"x-forwarded-for: {each}"], "http", None) for each in ("", "unknown", "a b", "1.2.3.4\x1b[1m")),
        (UNIX, ["x-forwarded-for: 203.0.113.1", "x-forwarded-proto: https"], "https", "203.0.113.1"),
        (OTHER, ["x-forwarded-for: 203.0.113.1", "x-forwarded-proto: https"], "http", None),
    ],
)
def test_scheme_and_client_are_those_that_a_trusted_proxy_states(
    client: tuple[str, int] | None, headers: list[str], scheme: str, forwarded_for: str | None
) -> None:
    received: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        received.append(scope)

    pairs = [(name.encode(), value.encode()) for name, value in (each.split(": ", 1) for each in headers)]
    server = ("127.0.0.1", 80) if client else ("/run/socket", None)
    scope: Any = {"type": "http", "client": client, "server": server, "scheme": "http", "headers": pairs, "state": {}}
    asyncio.run(ProxyHeadersMiddleware(app, "127.0.0.1")(scope, None, None))  # type: ignore[arg-type]
    (passed,) = received
    assert (passed["scheme"], passed["state"].get("forwarded_for"), passed["client"]) == (scheme, forwarded_for, client)
