"""The scheme of requests that arrive through proxies."""

from typing import TYPE_CHECKING

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware as UvicornProxyHeadersMiddleware

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

_SCHEMES = frozenset({b"http", b"https", b"ws", b"wss"})


class ProxyHeadersMiddleware(UvicornProxyHeadersMiddleware):
    """Takes the scheme from the X-Forwarded-Proto header of trusted proxies.

    Several proxies in a row send a list of schemes, of which the first is the client's. uvicorn ignores lists. It also
    reads the address of the client, which the service does not use.
    """

    async def __call__(self, scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        """Pass the request on with the client's scheme."""
        if scope["type"] == "http" and scope["client"] and scope["client"][0] in self.trusted_hosts:
            for name, value in scope["headers"]:
                if name == b"x-forwarded-proto":
                    scheme = value.partition(b",")[0].strip()
                    if scheme in _SCHEMES:
                        scope["scheme"] = scheme.decode("ascii")
                    break
        await self.app(scope, receive, send)
