"""The same question to the same catalog, for all peers: what the tenant can see of what changed since some time.

They are spared what the service does beside: other filters, markers, shared images.
"""

import json
import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

Document = dict[str, Any]

CATALOG = "BENCH_CATALOG"

_QUERY = """
SELECT id, name, status, progress, created, updated, min_disk, min_ram, size, metadata, server FROM images
WHERE (visibility = 'public' OR owner = :tenant) AND updated >= :since
ORDER BY created DESC, position
LIMIT 1000
"""

_threads = threading.local()


def documents(base: str, tenant: str, since: str) -> list[Document]:
    """Give the images that a tenant can see, as the API has them; links begin with the base."""
    return [_document(row, base, tenant) for row in _rows(tenant, since)]


def _rows(tenant: str, since: str) -> Iterator[Any]:
    """Ask the catalog, over a connection that the thread keeps."""
    if not hasattr(_threads, "connection"):
        _threads.connection = sqlite3.connect(f"file:{os.environ[CATALOG]}?mode=ro", uri=True)
        _threads.connection.row_factory = sqlite3.Row
    yield from _threads.connection.execute(_QUERY, {"tenant": tenant, "since": since})


def _document(row: Any, base: str, tenant: str) -> Document:
    image = {
        "id": row["id"],
        "name": row["name"],
        "status": row["status"],
        "progress": row["progress"],
        "created": row["created"],
        "updated": row["updated"],
        "minDisk": row["min_disk"],
        "minRam": row["min_ram"],
        "metadata": json.loads(row["metadata"]),
        "links": [*_links(base, tenant, "images", row["id"]), _alternate(base, tenant, row["id"])],
    }
    if row["size"] is not None:
        image["OS-EXT-IMG-SIZE:size"] = row["size"]
    if row["server"] is not None:
        server = quote(row["server"], safe="")
        image["server"] = {"id": row["server"], "links": _links(base, tenant, "servers", server)}
    return image


def _links(base: str, tenant: str, kind: str, identifier: str) -> list[Document]:
    path = f"{tenant}/{kind}/{identifier}"
    return [{"rel": "self", "href": f"{base}/v2/{path}"}, {"rel": "bookmark", "href": f"{base}/{path}"}]


def _alternate(base: str, tenant: str, identifier: str) -> Document:
    href = f"{base}/{tenant}/images/{identifier}"
    return {"rel": "alternate", "href": href, "type": "application/vnd.openstack.image"}
