"""The restoring of a backup, whichever engine stores the catalog."""

from pathlib import Path

from app.catalog.engine import COMMAND_TIMEOUT, Engine, SchemaState
from app.errors import CatalogUnavailable, DomainError


class CatalogExists(DomainError):
    """The catalog to restore exists already, and replacing it was not requested."""

    def __init__(self, catalog: str) -> None:
        super().__init__(f"{catalog} exists: --force replaces everything that it contains. Back it up first.")


def restore_catalog(engine: Engine, file: Path, *, replace: bool) -> None:
    """Fill the catalog from a backup, while no mirror runs. Services may run, and respond from it at once.

    Raises CatalogExists for an existing catalog unless `replace` is set; MirrorAlreadyRunning; and what
    `Engine.restore` raises.
    """
    if not replace and not _is_empty(engine):
        raise CatalogExists(engine.name)
    with engine.mirror_lock():
        engine.restore(file, timeout=COMMAND_TIMEOUT)


def _is_empty(engine: Engine) -> bool:
    """Return whether there is no catalog yet. One that is damaged, or of a later version, is not empty."""
    try:
        return engine.schema_state() is SchemaState.EMPTY
    except CatalogUnavailable:
        return False
