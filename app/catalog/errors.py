"""The errors of the catalog, whichever engine stores it."""

from app.errors import DomainError


class CatalogUnavailable(DomainError):
    """The catalog cannot be read. The message is for the log only."""

    public_message = "The catalog is unavailable; try again later."


class CatalogMissing(CatalogUnavailable):
    """There is no catalog yet. The message is for the log and commands."""

    def __init__(self, catalog: str) -> None:
        super().__init__(
            f"{catalog} holds no catalog yet: create it with migrate, import, mirror or token add, or from the sample "
            "with serve --sample."
        )


class CatalogBusy(CatalogUnavailable):
    """Other processes lock the catalog for longer than the timeout."""

    public_message = "The catalog is busy with other changes; try again later."

    def __init__(self) -> None:
        super().__init__(self.public_message)


class CatalogConnectionLost(CatalogUnavailable):
    """The connection to the database broke during a read. The message is for the log only."""


class CommitUnknown(CatalogUnavailable):
    """The connection broke while the database committed a change. The message is for the log and commands."""

    public_message = (
        "The catalog became unavailable during the change, which may have been made; check before repeating it."
    )

    def __init__(self, catalog: str) -> None:
        super().__init__(f"{catalog}: the connection broke during COMMIT, so the change may or may not have been made")


class CatalogDamaged(CatalogUnavailable):
    """The database is damaged, or holds values that no catalog can hold. The message is for the log and commands."""


class CatalogOfLaterVersion(CatalogUnavailable):
    """A later version of compute-images migrated the catalog. The message is for the log and commands."""

    def __init__(self, catalog: str, migrated_by: str | None, own_version: str) -> None:
        later = f"a later version of compute-images{f' ({migrated_by})' if migrated_by else ''}"
        super().__init__(
            f"{catalog} was migrated by {later} than this one ({own_version}): install that version again, or restore "
            "a backup from before the upgrade"
        )


class ReadLimitExceeded(DomainError):
    """A read exceeds the limits of its thread."""


class NotStarted(ReadLimitExceeded):
    """The time limit of a read ended while it waited for a connection."""


class QueryTimeout(DomainError):
    """A query takes longer than the time limit."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"The query was given up after {seconds} seconds: add filters or lower the limit.")
        self.headers = {"Retry-After": str(seconds)}


class TooManyQueries(DomainError):
    """A query waits for others for most of the time limit or longer, or too many wait already."""

    def __init__(self, seconds: int) -> None:
        super().__init__("Too many queries are running; try again later.")
        self.headers = {"Retry-After": str(seconds)}


class SchemaMismatch(CatalogUnavailable):
    """The schema of the catalog is that of another version of the service."""

    public_message = "The schema of the catalog is not that of this version."

    def __init__(self) -> None:
        super().__init__(self.public_message)


class CatalogReadOnly(CatalogUnavailable):
    """The catalog's file, its folder or the database is not writable. The message is for the log and commands."""

    public_message = "The catalog is read-only: only the operator of the service can change it."
