"""Backup of a catalog to a file, and the way back, whichever engine stores the catalog."""

from pathlib import Path

from app.catalog.engine import COMMAND_TIMEOUT, Engine, SchemaState
from app.catalog.errors import CatalogUnavailable
from app.errors import DomainError
from app.files import require_replaceable


class CatalogExists(DomainError):
    """The catalog already exists, and replacing it was not requested."""

    def __init__(self, catalog: str) -> None:
        super().__init__(f"{catalog} exists: --force replaces everything that it contains. Back it up first.")


def back_up_catalog(engine: Engine, file: Path, *, replace: bool) -> None:
    """Write a backup of the catalog to a file, while services and a mirror run.

    Raises FileNotReplaced, for an existing file unless `replace` is set, and what `Engine.backup` raises.
    """
    require_replaceable(file, replace=replace)
    engine.backup(file)


def restore_catalog(engine: Engine, file: Path, *, replace: bool) -> None:
    """Fill the catalog from a backup, while no mirror runs. Running services respond from the restored catalog at once.

    Raises CatalogExists for an existing catalog unless `replace` is set, MirrorAlreadyRunning, and what
    `Engine.restore` raises.
    """
    if not replace and not _is_empty(engine):
        raise CatalogExists(engine.name)
    with engine.mirror_lock():
        engine.restore(file, timeout=COMMAND_TIMEOUT)


def _is_empty(engine: Engine) -> bool:
    """Return whether there is no catalog yet. A damaged catalog, or one of a later version, is not empty."""
    try:
        return engine.schema_state() is SchemaState.EMPTY
    except CatalogUnavailable:
        return False
