"""A description of the tables, which the migrations create; the settings of sessions; and SQL that modules share.

`catalog` has one row. A trigger gives it a new random version after every statement that changes images, tokens or the
upstream, even if someone executes it by hand. Writers lock this row first, so only one writes at a time.

`images`, `image_members`, `audiences`, `status_types`, `tokens` and `upstream` contain the same data as the SQLite
tables with these names (see `app.catalog.sqlite.schema`). `sequence` increases in the order in which images were added.
The writer computes `audiences` (those whose lists include the image), `status_type`, `name_hash` and `server_hash`
(see `app.catalog.index_values`).

`image_index` contains an image once for each audience whose list includes it. `index_entries` derives it from `images`.

- Every index begins with the partition (`audience`, `deleted`) and, for a filter, its column. Except in
  `image_index_by_change`, the order of the list follows (`created`, `sort_key`), so that a filter needs no sorting.
- The indexes include the columns of the same other filters as those of SQLite, so that an index-only scan can check all
  filters. It reads only the index once a vacuum has marked the pages of the table as visible.
- `name_hash` and `server_hash` are the first 16 bytes of a SHA-256, because a long name does not fit into an index
  entry. Texts with equal hashes are treated as equal.
- Without statistics of the columns, and with the session settings below, the plan of a query depends only on the query,
  and uses the index of its driving condition.

`sync_status` contains the status of the mirror's syncs. Changing it does not change the version.

Texts that are compared or sorted have the collation "C", which orders them by their bytes.
"""

import hashlib
from collections.abc import Mapping

# Settings of every connection.
# - Planner: otherwise, PostgreSQL scans and sorts whole tables if it expects many rows to match, and may plan a query
#   again for each value.
# - TCP: otherwise, the server notices only after two hours that a machine has vanished. Until then, the sessions of
#   that machine keep their locks, and no other mirror can start.
# - client_connection_check_interval: otherwise, a statement continues after this side has closed its connection.
# - idle_session_timeout: a mirror is idle between syncs, and must not lose its session, and its lock, because of that.
# - Other timeouts: reads and writes of requests have their own, and the statements of commands take as long as they
#   need, whatever the role, the database or the server sets. An idle transaction ends after 15 minutes.
SESSION_SETTINGS: Mapping[str, str] = {
    "client_connection_check_interval": "1000",  # milliseconds
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "idle_in_transaction_session_timeout": "900000",  # milliseconds
    "idle_session_timeout": "0",
    "jit": "off",
    "lock_timeout": "0",
    "max_parallel_workers_per_gather": "0",
    "plan_cache_mode": "force_generic_plan",
    "statement_timeout": "0",
    "tcp_keepalives_count": "3",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_user_timeout": "25000",  # milliseconds
}
VERSION_17 = 170000  # of PostgreSQL
SETTINGS_SINCE_17: Mapping[str, str] = {"transaction_timeout": "0"}

TOMBSTONE = "(status = 'DELETED' AND (deleted_at IS NOT NULL OR revision IS NULL))"

# The condition for images that the project $2 may see if it knows the id. Members are looked up in a separate table:
# searching the list in the image would take longer for more members, and so disclose that the image exists.
VISIBLE = """(
    visibility IN ('public', 'community')
    OR owner = $2
    OR visibility = 'shared' AND EXISTS (
        SELECT FROM image_members
        WHERE image_members.sequence = images.sequence AND image_members.project_id = $2
    )
)"""

# The schema of the catalog, which can be any of the search_path. Without a catalog, the first one, in which tables are
# created. A cast of its name to regnamespace would convert the name to lowercase, as it does with an identifier in SQL.
SCHEMA_OID = """coalesce(
    (SELECT relnamespace FROM pg_class WHERE relname = 'image_index' AND pg_table_is_visible(oid)),
    (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
)"""
NO_SCHEMA = "the search_path of the URL names no schema that exists and that the role may use"  # SCHEMA_OID is NULL

# Seconds that are added to the time of a sync, as in SQLite. Readers see the sync only after its transaction; if this
# takes no longer, a client that polls with changes-since misses no image. Ten seconds suffice for some 130 000 images,
# measured on a busy machine.
_SYNC_MARGIN = 10

# Triggers change the version when these tables change.
VERSIONED_TABLES = ("images", "image_index", "image_members", "audiences", "status_types", "tokens", "upstream")
INDEX_COLUMNS = "audience, deleted, created, sort_key, changed, status_type, min_disk, min_ram, name_hash, server_hash"


def index_entries(images: str) -> str:
    """Return the query for the index entries of images, which are the name of a table, or a query in parentheses."""
    created, updated = (f"date_part('epoch', {column}::timestamptz)::bigint" for column in ("created", "updated"))
    return f"""
    SELECT audience, status = 'DELETED' AS deleted, {created} AS created, -sequence AS sort_key,
           greatest({updated}, coalesce(synced_at + {_SYNC_MARGIN}, 0)) AS changed, status_type, min_disk, min_ram,
           name_hash, server_hash
    FROM {images} AS image CROSS JOIN LATERAL unnest(audiences) AS audience
    """  # noqa: S608 no user input


def text_hash(text: str) -> bytes:
    """Return the hash of a name, or of a server's id, in the image index: 16 bytes."""
    return hashlib.sha256(text.encode()).digest()[:16]
