"""The catalog: a SQLite file of images, who owns them, and who may see them."""

from app.catalog.find import Catalog, Image, Page, Version
from app.catalog.load import Loaded, Record, export, load, prepare
from app.catalog.search import Query

__all__ = ["Catalog", "Image", "Loaded", "Page", "Query", "Record", "Version", "export", "load", "prepare"]
