"""The results of the commands `status` and `check`, which are the same for all engines."""

from typing import NamedTuple


class DatabaseInfo(NamedTuple):
    """The size of a database in bytes, its last migration, and the version that applied it (None if unknown)."""

    bytes: int
    migration: str
    migrated_by: str | None


class CatalogUser(NamedTuple):
    """A process that has the catalog open, or is its mirror, and whether it is writing now.

    With a database server, it is a session: `pid` is that of its process on the server, and `host` the address of the
    client. `host` is None for a process on the machine of the catalog.
    """

    pid: int
    command: str
    is_writing: bool
    is_mirror: bool
    host: str | None = None


class Finding(NamedTuple):
    """A problem that a check of the catalog found, and what to do about it. With a warning, the catalog can be used."""

    problem: str
    advice: str
    is_warning: bool = False
