"""The URL of a PostgreSQL database: how libpq reads it, and the name of the catalog in messages."""

import re
from collections.abc import Mapping
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from app.catalog.errors import CatalogUnavailable

Parameters = Mapping[str, str]  # of libpq, by keyword

# A host name, an address, or the folder of a socket; the empty text is libpq's default. Commas separate several.
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?|/.*")
_PORT = re.compile("[0-9]{0,5}")
_OF_HOSTS = ("host", "hostaddr", "port")
_PATH = re.compile("[a-z]+://[^/]*/([^?]*)")


class InvalidUrl(CatalogUnavailable):
    """The URL of the catalog is invalid. The message does not contain it: a part of it may be a password."""

    def __init__(self) -> None:
        super().__init__(
            "IMAGES_CATALOG is a PostgreSQL URL that cannot be read; expected "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETER=VALUE as libpq has it, with special characters "
            "of each part percent-encoded"
        )


def parse_url(url: str) -> Parameters:
    """Return the parameters of libpq that a URL sets. Raises InvalidUrl.

    A password that is not percent-encoded can be read as the host, the port or the database, which messages contain.
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
    return parameters


def split_hosts(parameters: Parameters) -> list[Parameters]:
    """Return the parameters of each host that a URL lists; those of all if libpq will not accept the list."""
    lists = {keyword: parameters[keyword].split(",") for keyword in _OF_HOSTS if keyword in parameters}
    count = max(map(len, lists.values()), default=1)
    if any(len(values) not in {1, count} for values in lists.values()):
        return [parameters]
    return [
        {**parameters, **{keyword: values[number % len(values)] for keyword, values in lists.items()}}
        for number in range(count)
    ]


def catalog_name(parameters: Parameters) -> str:
    """Return the URL of the catalog without the user, the password and the parameters, as `postgresql://host:5432/db`.

    What the URL leaves out comes from libpq's defaults and environment variables; or from the service that it names.
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
