"""Which lists include an image, and its type and server, by which lists are filtered.

PostgreSQL stores these results. SQLite computes them itself, in the view `image_index_entries`; a test compares them.
"""

from collections.abc import Collection

import orjson

from app.catalog.listing import EVERYONE
from app.catalog.models import StoredImage


def listing_projects(image: StoredImage) -> Collection[str]:
    """Return the projects whose lists include an image."""
    if image.hidden and image.status != "DELETED":
        return ()
    if image.visibility == "public":
        return (EVERYONE,)
    owner = () if image.owner is None else (image.owner,)
    return {*owner, *orjson.loads(image.members)} if image.visibility == "shared" else owner


def type_and_server(image: StoredImage) -> tuple[str, str | None]:
    """Return the type of an image, and the id of the server from which it was created, if any."""
    text = image.metadata  # parsed only if it may contain one of the two items, which halves the time
    metadata = orjson.loads(text) if "instance_uuid" in text or "image_type" in text else {}
    server, image_type = metadata.get("instance_uuid") or None, metadata.get("image_type")
    return image_type if image_type in {"snapshot", "backup"} else "SERVER" if server else "BASE", server
