"""The SQL of migrations 1 to 5. Never edit it: existing catalogs were created by it."""

IMAGES = """
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

# Catalogs hold what the first versions of migration 1 created: further tables, views, triggers and columns of `images`.
OBSOLETE_OBJECTS = """
SELECT type, name FROM sqlite_schema
WHERE type IN ('view', 'trigger', 'table') AND name NOT IN ('images', '_sqlite_migrations') AND name NOT LIKE 'sqlite_%'
ORDER BY type = 'table'
"""
REBUILD_IMAGES = (
    "ALTER TABLE images RENAME TO earlier",
    IMAGES,
    """
    INSERT INTO images (
        position, id, name, status, progress, created, updated, min_disk, min_ram, size,
        metadata, owner, visibility, members
    )
    SELECT
        position, id, name, status, progress, created, updated, min_disk, min_ram, size,
        metadata, owner, visibility, members
    FROM earlier ORDER BY position
    """,
    "DROP TABLE earlier",
)
LISTINGS = (
    """
    ALTER TABLE images ADD COLUMN type TEXT GENERATED ALWAYS AS (
        CASE
            WHEN metadata ->> '$.image_type' IN ('snapshot', 'backup') THEN metadata ->> '$.image_type'
            WHEN server IS NOT NULL THEN 'SERVER'
            ELSE 'BASE'
        END
    )
    """,
    """
    ALTER TABLE images ADD COLUMN tenants TEXT GENERATED ALWAYS AS (
        CASE visibility
            WHEN 'public' THEN json_array('*')
            WHEN 'shared' THEN json_insert(members, '$[#]', owner)
            ELSE json_array(owner)
        END
    )
    """,
    "CREATE TABLE audiences (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL UNIQUE) STRICT",
    "INSERT INTO audiences VALUES (0, '*')",
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
    "CREATE INDEX listings_by_name ON listings (audience, deleted, name, created, rank, kind)",
    "CREATE INDEX listings_by_server ON listings (audience, deleted, server, created, rank) WHERE server IS NOT NULL",
    "CREATE INDEX listings_by_min_disk ON listings (audience, deleted, min_disk, created, rank) WHERE min_disk <> 0",
    "CREATE INDEX listings_by_min_ram ON listings (audience, deleted, min_ram, created, rank) WHERE min_ram <> 0",
    "CREATE INDEX listings_by_change ON listings (audience, deleted, updated)",
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

TOKENS = """
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL,  -- SHA-256 of its secret
    tenant TEXT NOT NULL,
    is_admin INTEGER NOT NULL,
    created TEXT NOT NULL,
    expires TEXT  -- none: never
) STRICT, WITHOUT ROWID
"""

UPSTREAM = (
    """
    CREATE TABLE upstream (  -- of a copy; else it is empty
        url TEXT NOT NULL,
        is_admin INTEGER NOT NULL,  -- whether it is a copy of what administrators see
        good REAL NOT NULL,  -- when the last pass began that found something new: seconds since 1970
        turn INTEGER NOT NULL  -- counts what was learned
    ) STRICT
    """,
    "ALTER TABLE images ADD COLUMN learned INTEGER",
    "ALTER TABLE images ADD COLUMN turn INTEGER",
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
