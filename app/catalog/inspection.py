"""What the commands `status` and `check` find out about a database, whichever engine uses it."""

from typing import NamedTuple


class DatabaseInfo(NamedTuple):
    """The size of a database in bytes, its last migration, and the version that applied it; None if that is unknown."""

    bytes: int
    migration: str
    migrated_by: str | None


class CatalogUser(NamedTuple):
    """A process that has the catalog open, or is its mirror, and whether it is writing to it now.

    The host is None on this machine.
    """

    pid: int
    command: str
    is_writing: bool
    is_mirror: bool
    host: str | None = None


class Finding(NamedTuple):
    """What a check of the catalog found, and what to do about it. A warning is no error: the catalog can be used."""

    problem: str
    advice: str
    is_warning: bool = False
