"""Hosts and origins, in the form in which they are compared."""

import re
from ipaddress import IPv6Address

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(:(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def host_name(host: str) -> str:
    """Return the name or address in a Host header, without port and trailing dot. Raises ValueError for others."""
    match = _HOST.fullmatch(host)
    if not match or int(match["port"] or 0) > _MAX_PORT:
        raise ValueError(host)
    name = match["name"].lower()
    return f"[{IPv6Address(name[1:-1])}]" if name.startswith("[") else name.removesuffix(".")


def origin_of(url: str) -> str:
    """Return the origin of an http or https URL as browsers send it: without path and default port."""
    scheme, _, rest = url.lower().partition("://")
    return f"{scheme}://{rest.partition('/')[0].removesuffix(_DEFAULT_PORTS[scheme])}"
