"""The catalog: a SQLite file of images, who owns them, and who may see them."""

from app.catalog.find import Catalog, Image, Page, Query, Version
from app.catalog.load import Loaded, Record, export, load, prepare

__all__ = ["Catalog", "Image", "Loaded", "Page", "Query", "Record", "Version", "export", "load", "prepare"]
