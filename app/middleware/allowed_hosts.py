"""The hosts that requests may name."""

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from app.asgi import request_host
from app.errors import HostNotAllowed
from app.origins import host_name


class AllowedHostsMiddleware:
    """Rejects requests whose Host header names another host, as those after DNS rebinding do.

    In DNS rebinding, the name of a website is resolved to the address of this service, so that the browser takes both
    for the same origin. The semantics are those of Starlette's TrustedHostMiddleware, whose errors are not faults.
    """

    def __init__(self, next_app: ASGIApp, hosts: Collection[str]) -> None:
        """Set the allowed hosts, without ports; `*.example.com` stands for all subdomains, `*` for every host."""
        self._next_app = next_app
        self._names = frozenset(hosts)
        self._suffixes = tuple(each[1:] for each in hosts if each.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its host is allowed."""
        if scope["type"] == "http" and "*" not in self._names:
            self._require_allowed(request_host(scope))
        await self._next_app(scope, receive, send)

    def _require_allowed(self, host: str) -> None:
        try:
            name = host_name(host)
        except ValueError:
            raise HostNotAllowed(host) from None
        if name not in self._names and not name.endswith(self._suffixes):
            raise HostNotAllowed(host)
