"""The same query of the same catalog for all peers: the images that a project can see, changed since a time.

The peers do not have the other features of the service: other filters, shared images.
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
WHERE (visibility = 'public' OR owner = :project_id) AND updated >= :since {after}
ORDER BY created DESC, sequence
LIMIT :limit
"""
_AFTER = "AND (created, -sequence) < (SELECT created, -sequence FROM images WHERE id = :marker)"

_threads = threading.local()


def documents(base: str, project_id: str, since: str, limit: int, marker: str | None) -> list[Document]:
    """Return the documents of the images that a project can see, after the marker. Links begin with the base."""
    parameters = {"project_id": project_id, "since": since, "limit": limit, "marker": marker}
    return [_document(row, base, project_id) for row in _rows(parameters)]


def _rows(parameters: Document) -> Iterator[Any]:
    if not hasattr(_threads, "connection"):
        _threads.connection = sqlite3.connect(f"file:{os.environ[CATALOG]}?mode=ro", uri=True)
        _threads.connection.row_factory = sqlite3.Row
    yield from _threads.connection.execute(_QUERY.format(after=_AFTER if parameters["marker"] else ""), parameters)


def _document(row: Any, base: str, project_id: str) -> Document:
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
        "links": [*_links(base, project_id, "images", row["id"]), _alternate(base, project_id, row["id"])],
    }
    if row["size"] is not None:
        image["OS-EXT-IMG-SIZE:size"] = row["size"]
    if row["server"] is not None:
        server = quote(row["server"], safe="")
        image["server"] = {"id": row["server"], "links": _links(base, project_id, "servers", server)}
    return image


def _links(base: str, project_id: str, collection: str, identifier: str) -> list[Document]:
    path = f"{project_id}/{collection}/{identifier}"
    return [{"rel": "self", "href": f"{base}/v2/{path}"}, {"rel": "bookmark", "href": f"{base}/{path}"}]


def _alternate(base: str, project_id: str, identifier: str) -> Document:
    href = f"{base}/{project_id}/images/{identifier}"
    return {"rel": "alternate", "href": href, "type": "application/vnd.openstack.image"}
