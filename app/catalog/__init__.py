"""The catalog: a SQLite file of images, who owns them, and who may see them."""

from app.catalog.change import Changes, Metadata
from app.catalog.find import Catalog, Image, Page, Version
from app.catalog.load import Loaded, export, load, prepare
from app.catalog.search import Query
from app.catalog.write import Record, as_json

__all__ = [
    "Catalog",
    "Changes",
    "Image",
    "Loaded",
    "Metadata",
    "Page",
    "Query",
    "Record",
    "Version",
    "as_json",
    "export",
    "load",
    "prepare",
]
