"""A description of the tables, which the migrations create; the settings of a session; and SQL that modules share.

`catalog` has one row. Every statement that changes images, tokens or the upstream gives it another random version,
also one that someone executes by hand. Writers lock this row first, so there is one at a time.

`images`, `image_members`, `audiences`, `status_types`, `tokens` and `upstream` hold what the SQLite tables of these
names hold (see `app.catalog.sqlite.schema`). `sequence` ascends in the order in which images were added. The writer
computes `audiences` (those that list the image), `status_type`, `name_hash` and `server_hash`.

`image_index` holds an image once for each audience that lists it. It is derived from `images` by `index_entries`.

- Every index begins with the partition (`audience`, `deleted`) and, except for `image_index_by_change`, ends in the
  order of the list, so that a filter needs no sorting.
- `name_hash` and `server_hash` are the first half of a SHA-256: an index entry cannot hold every name. Equal hashes
  count as equal texts.
- The columns have no statistics, and sessions have the settings below: so the plan of a query depends on the query
  only, and uses the index of its driving condition.

`sync_status` holds the status of the mirror's syncs. A change of it does not change the version.

Texts that are compared or sorted have the collation "C": the order of their bytes.
"""

import hashlib
from collections.abc import Mapping

# Of every connection. Without those of the planner, PostgreSQL would scan and sort whole tables as soon as it estimates
# that many rows match, or plan the same query anew for each value. Without those of TCP, it would notice only after two
# hours that a machine has vanished: until then, that machine would hold its locks, and no other mirror could start. A
# mirror is idle between its syncs, and must not lose its lock by that.
SESSION_SETTINGS: Mapping[str, str] = {
    "client_encoding": "UTF8",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "idle_session_timeout": "0",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "plan_cache_mode": "force_generic_plan",
    "tcp_keepalives_count": "3",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_user_timeout": "25000",  # milliseconds
}

TOMBSTONE = "(status = 'DELETED' AND (deleted_at IS NOT NULL OR revision IS NULL))"

# The images that the project $2 may see if it knows the id. Members are looked up in a table of their own: the time to
# search the list of members in the image would grow with their number, and thereby disclose that the image exists.
VISIBLE = """(
    visibility IN ('public', 'community')
    OR owner = $2
    OR visibility = 'shared' AND EXISTS (
        SELECT FROM image_members
        WHERE image_members.sequence = images.sequence AND image_members.project_id = $2
    )
)"""

INDEX_COLUMNS = "audience, deleted, created, sort_key, changed, status_type, min_disk, min_ram, name_hash, server_hash"


def index_entries(images: str) -> str:
    """Return the query of the index entries of images: those of a table, or of a query in parentheses."""
    created, updated = (f"date_part('epoch', {column}::timestamptz)::bigint" for column in ("created", "updated"))
    return f"""
    SELECT audience, status = 'DELETED' AS deleted, {created} AS created, -sequence AS sort_key,
           greatest({updated}, coalesce(synced_at + 10, 0)) AS changed, status_type, min_disk, min_ram,
           name_hash, server_hash
    FROM {images} AS image CROSS JOIN LATERAL unnest(audiences) AS audience
    """  # noqa: S608 no user input


def text_hash(text: str) -> bytes:
    """Return the hash that the image index has of a name or of the id of a server."""
    return hashlib.sha256(text.encode()).digest()[:16]
