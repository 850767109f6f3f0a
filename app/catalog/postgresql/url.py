"""The URL of a PostgreSQL database: its parameters, as libpq parses them, and the catalog's name in messages."""

import re
from collections.abc import Mapping
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from app.catalog.errors import CatalogUnavailable

Parameters = Mapping[str, str]  # connection parameters of libpq, by keyword

# One host: a name, an address, or the folder of a Unix socket; an empty text stands for libpq's default.
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?|/.*")
_PORT = re.compile("[0-9]{0,5}")
_OF_HOSTS = ("host", "hostaddr", "port")
_PATH = re.compile("[a-z]+://[^/]*/([^?]*)")
_TARGETS = ("read-write", "primary")  # values of target_session_attrs with which libpq never connects to a standby


class InvalidUrl(CatalogUnavailable):
    """The URL of the catalog is invalid. The message does not contain the URL, which may contain a password."""

    def __init__(
        self,
        problem: str = "is an invalid PostgreSQL URL",
        expected: str = "a connection URI of libpq, postgresql://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETER=VALUE, "
        "with special characters percent-encoded",
    ) -> None:
        super().__init__(f"IMAGES_CATALOG {problem}; expected {expected}")


def parse_url(url: str) -> Parameters:
    """Return the connection parameters that a URL sets. Raises InvalidUrl.

    libpq would take a part of a password that is not percent-encoded for the host, the port or the database, which
    appear in messages. So a URL where these look like a part of a password is rejected, as is one for a standby.
    """
    try:
        parameters = {keyword: str(value) for keyword, value in conninfo_to_dict(url).items()}
    except (psycopg.Error, UnicodeError):
        raise InvalidUrl from None
    path = _PATH.match(url)
    parts = [(_HOST, parameters.get("host", "")), (_PORT, parameters.get("port", ""))]
    is_valid = all(pattern.fullmatch(each) for pattern, text in parts for each in text.split(","))
    if not is_valid or (path and "@" in path[1]):
        raise InvalidUrl
    target = parameters.get("target_session_attrs", _TARGETS[0])
    if target not in _TARGETS:
        expected = f"{' or '.join(_TARGETS)}, because a standby may lag behind the primary"
        raise InvalidUrl(f"sets target_session_attrs to {target!r}", expected)
    return parameters


def split_hosts(parameters: Parameters) -> list[Parameters]:
    """Return the parameters for each host of a URL; those of the URL if its lists do not match: libpq reports this."""
    lists = {keyword: parameters[keyword].split(",") for keyword in _OF_HOSTS if keyword in parameters}
    count = max(map(len, lists.values()), default=1)
    if any(len(values) not in {1, count} for values in lists.values()):
        return [parameters]
    return [
        {**parameters, **{keyword: values[number % len(values)] for keyword, values in lists.items()}}
        for number in range(count)
    ]


def catalog_name(parameters: Parameters) -> str:
    """Return the URL of the catalog without user, password and parameters, such as `postgresql://host:5432/db`.

    Missing parts are libpq's defaults, which environment variables can set. A URL without a host that names a service
    of libpq keeps the name of the service instead.
    """
    if "service" in parameters and "host" not in parameters:
        return f"postgresql:///{quote(parameters.get('dbname', ''))}?service={quote(parameters['service'])}"
    defaults = {each.keyword.decode(): (each.val or b"").decode() for each in Conninfo.get_defaults()}
    known = {**defaults, **parameters}
    hosts = (known["host"] or known["hostaddr"]).split(",")
    ports = known["port"].split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = [f"{_quote_host(host)}:{port or defaults['port']}" for host, port in zip(hosts, ports, strict=False)]
    return f"postgresql://{','.join(places)}/{quote(known['dbname'])}"


def _quote_host(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe="")
