"""Engines for tests."""

from contextlib import _GeneratorContextManager

from app.catalog.sqlite.engine import SQLiteEngine
from app.catalog.sqlite.writer import SQLiteTransaction


class ImpatientEngine(SQLiteEngine):
    """An engine that waits for other writers for a tenth of a second at most."""

    def transaction(self, *, timeout: float) -> _GeneratorContextManager[SQLiteTransaction]:
        """Start a transaction with a short timeout."""
        return super().transaction(timeout=min(timeout, 0.1))
