"""The tables of the catalog, and how those of earlier versions become them."""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

EVERYONE = 0  # the audience of public images
_EVERYONE = "*"  # in the place of a tenant

# What is known of an image, once.
_IMAGES = """
CREATE TABLE images (
    position INTEGER PRIMARY KEY,  -- the order in which images came into the catalog
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    status TEXT NOT NULL,  -- of a tombstone: DELETED
    progress INTEGER NOT NULL,
    created TEXT NOT NULL,  -- times are UTC to the second, such as 2011-01-01T01:02:03Z
    updated TEXT NOT NULL,
    min_disk INTEGER NOT NULL,
    min_ram INTEGER NOT NULL,
    size INTEGER,
    metadata TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
    owner TEXT,  -- tenants are in lower case, without dashes
    visibility TEXT NOT NULL,
    members TEXT NOT NULL CHECK (json_type(members) = 'array'),  -- the tenants that accepted a shared image
    server TEXT GENERATED ALWAYS AS (nullif(metadata ->> '$.instance_uuid', '')) STORED  -- every page shows it
) STRICT
"""

# What a tenant can see, by an image's id if not in a list. Whether an image is shared with it is looked up in its list:
# to go through the members would take longer the more there are, and so tell that the image is there.
VISIBLE = """(
    visibility IN ('public', 'community')
    OR owner = :tenant
    OR visibility = 'shared' AND EXISTS (
        SELECT 1 FROM listings
        WHERE audience = (SELECT audiences.id FROM audiences WHERE tenant = :tenant)
          AND deleted = (images.status = 'DELETED') AND created = unixepoch(images.created) AND rank = -position
    )
)"""

SHOWN = f"id = :id AND status <> 'DELETED' AND {VISIBLE}"

# How it is listed: once for each audience, which is everyone, its owner, or a member that it is shared with. A listing
# is no more than the view `visible` says of its image: whoever writes images brings it up to date.
#
# An audience has two lists, one of images and one of tombstones, so that neither stands in the other's way. A list's
# order is the answer's: newest first, ties as they came; `rank` stands in for the position because both have to run
# the same way for a page to be found by key. An index that goes on in this order finds what a filter wants sorted.
# Numbers stand in for tenants, kinds and times because they are short: an import into a large catalog takes as long as
# the pages that it touches.
_LISTINGS = (
    """
    ALTER TABLE images ADD COLUMN type TEXT GENERATED ALWAYS AS (
        CASE
            WHEN metadata ->> '$.image_type' IN ('snapshot', 'backup') THEN metadata ->> '$.image_type'
            WHEN server IS NOT NULL THEN 'SERVER'
            ELSE 'BASE'
        END
    )
    """,
    f"""
    ALTER TABLE images ADD COLUMN tenants TEXT GENERATED ALWAYS AS (
        CASE visibility
            WHEN 'public' THEN json_array('{_EVERYONE}')
            WHEN 'shared' THEN json_insert(members, '$[#]', owner)
            ELSE json_array(owner)
        END
    )
    """,
    "CREATE TABLE audiences (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL UNIQUE) STRICT",
    f"INSERT INTO audiences VALUES ({EVERYONE}, '{_EVERYONE}')",  # noqa: S608 ours
    """
    CREATE TABLE kinds (
        id INTEGER PRIMARY KEY,
        status TEXT NOT NULL,
        type TEXT NOT NULL,
        UNIQUE (status, type)
    ) STRICT
    """,
    """
    CREATE TABLE listings (
        audience INTEGER NOT NULL,
        deleted INTEGER NOT NULL,  -- 1: in the list of tombstones
        created INTEGER NOT NULL,  -- times are seconds since 1970
        rank INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        min_disk INTEGER NOT NULL,
        min_ram INTEGER NOT NULL,
        name TEXT,
        server TEXT,
        PRIMARY KEY (audience, deleted, created, rank)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE VIEW visible AS
    SELECT
        images.id, audiences.id AS audience, status = 'DELETED' AS deleted, unixepoch(created) AS created,
        -position AS rank, unixepoch(updated) AS updated, kinds.id AS kind, min_disk, min_ram, name, server
    FROM images
    CROSS JOIN kinds USING (status, type)
    CROSS JOIN json_each(tenants) AS each
    CROSS JOIN audiences ON tenant = each.value
    """,
    "CREATE INDEX listings_by_kind ON listings (audience, kind, created, rank)",
    # By its kind, too, so that a kind of a name is told from the index alone.
    "CREATE INDEX listings_by_name ON listings (audience, deleted, name, created, rank, kind)",
    "CREATE INDEX listings_by_server ON listings (audience, deleted, server, created, rank) WHERE server IS NOT NULL",
    "CREATE INDEX listings_by_min_disk ON listings (audience, deleted, min_disk, created, rank) WHERE min_disk <> 0",
    "CREATE INDEX listings_by_min_ram ON listings (audience, deleted, min_ram, created, rank) WHERE min_ram <> 0",
    "CREATE INDEX listings_by_change ON listings (audience, deleted, updated)",
    # Images that are there already, in a catalog of an earlier version.
    """
    INSERT INTO audiences (tenant)
    SELECT DISTINCT each.value FROM images CROSS JOIN json_each(tenants) AS each WHERE each.value NOT NULL
    ON CONFLICT DO NOTHING
    """,
    "INSERT INTO kinds (status, type) SELECT DISTINCT status, type FROM images",
    """
    INSERT INTO listings
    SELECT audience, deleted, created, rank, updated, kind, min_disk, min_ram, name, server FROM visible WHERE true
    ON CONFLICT DO NOTHING
    """,
)

_COLUMNS = """
    position, id, name, status, progress, created, updated, min_disk, min_ram, size,
    metadata, owner, visibility, members
"""
# Whatever an earlier version had beside the images, and in their table beside what is known of them.
_OTHERS = """
SELECT type, name FROM sqlite_schema
WHERE type IN ('view', 'trigger', 'table') AND name NOT IN ('images', '_sqlite_migrations') AND name NOT LIKE 'sqlite_%'
ORDER BY type = 'table'
"""
_BY_THEMSELVES = (
    "ALTER TABLE images RENAME TO earlier",
    _IMAGES,
    f"INSERT INTO images ({_COLUMNS}) SELECT {_COLUMNS} FROM earlier ORDER BY position",  # noqa: S608 ours
    "DROP TABLE earlier",
)

_TOKENS = """
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL,  -- SHA-256 of its secret
    tenant TEXT NOT NULL,
    is_admin INTEGER NOT NULL,
    created TEXT NOT NULL,
    expires TEXT  -- none: never
) STRICT, WITHOUT ROWID
"""

# A catalog may be a copy of what an image service has. What it learned of an image is a change too, whenever the image
# itself changed: a listing says of either the later one. Others see what was learned only when all of it is written, so
# it counts as learned ten seconds after that began, in which some 300 000 images are written: nobody who asked
# meanwhile, and then asks for what changed since, misses it.
_UPSTREAM = (
    """
    CREATE TABLE upstream (  -- of a copy; else it is empty
        url TEXT NOT NULL,
        is_admin INTEGER NOT NULL,  -- whether it is a copy of what administrators see
        good REAL NOT NULL,  -- when the last pass began that found something new: seconds since 1970
        turn INTEGER NOT NULL  -- counts what was learned
    ) STRICT
    """,
    "ALTER TABLE images ADD COLUMN learned INTEGER",  # in a copy: seconds since 1970
    "ALTER TABLE images ADD COLUMN turn INTEGER",  # in which that was; clocks are set, and would mix up what came first
    "DROP VIEW visible",
    "ALTER TABLE listings RENAME COLUMN updated TO changed",
    """
    CREATE VIEW visible AS
    SELECT
        images.id, audiences.id AS audience, status = 'DELETED' AS deleted, unixepoch(created) AS created,
        -position AS rank, max(unixepoch(updated), coalesce(learned + 10, 0)) AS changed, kinds.id AS kind,
        min_disk, min_ram, name, server
    FROM images
    CROSS JOIN kinds USING (status, type)
    CROSS JOIN json_each(tenants) AS each
    CROSS JOIN audiences ON tenant = each.value
    """,
)

MIGRATIONS = Migrations("compute-images")


@MIGRATIONS(name="1: images")
def _create_images(db: Database) -> None:
    db.execute(_IMAGES)


@MIGRATIONS(name="2: listings")
def _create_listings(db: Database) -> None:
    others = [f"DROP {kind} {name}" for kind, name in db.execute(_OTHERS).fetchall()]
    for statement in (*others, *_BY_THEMSELVES, *_LISTINGS):
        db.execute(statement)


@MIGRATIONS(name="3: tombstones made here")
def _date_tombstones(db: Database) -> None:
    db.execute("ALTER TABLE images ADD COLUMN deleted_at TEXT")  # of a tombstone that no file brought
    db.execute("CREATE INDEX tombstones ON images (deleted_at) WHERE deleted_at IS NOT NULL")


@MIGRATIONS(name="4: tokens")
def _create_tokens(db: Database) -> None:
    db.execute(_TOKENS)


@MIGRATIONS(name="5: upstream")
def _create_upstream(db: Database) -> None:
    for statement in _UPSTREAM:
        db.execute(statement)
