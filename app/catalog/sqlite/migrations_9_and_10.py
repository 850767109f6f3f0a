"""The SQL of migrations 9 and 10. Never edit it: existing catalogs were created by it."""

COVERING_INDEXES = (
    *(f"DROP INDEX image_index_by_{column}" for column in ("server", "name", "status_type", "min_ram", "min_disk")),
    """
    CREATE INDEX image_index_by_server ON image_index (
        audience, deleted, server, created, sort_key, name, status_type, min_ram, min_disk, changed
    ) WHERE server IS NOT NULL
    """,
    """
    CREATE INDEX image_index_by_name ON image_index (
        audience, deleted, name, created, sort_key, status_type, min_ram, min_disk, changed
    )
    """,
    """
    CREATE INDEX image_index_by_status_type ON image_index (
        audience, status_type, created, sort_key, min_ram, min_disk, changed
    )
    """,
    """
    CREATE INDEX image_index_by_min_ram ON image_index (
        audience, deleted, min_ram, created, sort_key, min_disk, changed
    ) WHERE min_ram <> 0
    """,
    """
    CREATE INDEX image_index_by_min_disk ON image_index (
        audience, deleted, min_disk, created, sort_key, min_ram, changed
    ) WHERE min_disk <> 0
    """,
)
STATUS_IN_INDEXES = (
    *(f"DROP INDEX image_index_by_{column}" for column in ("min_ram", "min_disk")),
    """
    CREATE INDEX image_index_by_min_ram ON image_index (
        audience, deleted, min_ram, created, sort_key, min_disk, status_type, changed
    ) WHERE min_ram <> 0
    """,
    """
    CREATE INDEX image_index_by_min_disk ON image_index (
        audience, deleted, min_disk, created, sort_key, min_ram, status_type, changed
    ) WHERE min_disk <> 0
    """,
)
