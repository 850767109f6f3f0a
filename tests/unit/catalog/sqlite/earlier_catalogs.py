"""Catalogs that earlier versions created.

`earlier/` has dumps of such catalogs, written by the commits that they name, and what these commits exported. A name
begins with the number of the last applied migration. `old2` and `old5`: the first versions of migrations 2 and 5, which
were edited after they had landed, created the tables. `from-1`: SQLite altered the tables that migration 1 created.
"""

from contextlib import closing
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from app.catalog.engine import Engine
from app.catalog.sqlite.database import open_reader

EARLIER = Path(__file__).parent / "earlier"
NAMES = sorted(path.stem for path in EARLIER.glob("*.sql"))
REPLICAS = [name for name in NAMES if name.endswith("replica")]
IMPORTED = [name for name in NAMES if name not in REPLICAS]


def earlier_catalog(folder: Path, name: str) -> Path:
    path = folder / f"{name}.db"
    with closing(Database(path)) as db:
        db.conn.executescript((EARLIER / f"{name}.sql").read_text(encoding="utf-8"))
    return path


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with closing(open_reader(Path(engine.name))) as db:
        return db.execute(query).fetchall()
