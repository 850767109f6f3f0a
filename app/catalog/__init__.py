"""The catalog: a SQLite file of images, who owns them, and who may see them."""

from app.catalog.change import Changes, Metadata, check_count
from app.catalog.find import Catalog, Image, Page, Version
from app.catalog.load import Loaded, export, load, prepare
from app.catalog.search import Query
from app.catalog.tokens import Token, add_token, find_token, list_tokens, revoke_tokens
from app.catalog.upstream import (
    REASON,
    Copied,
    Failure,
    Found,
    Upstream,
    copy_found,
    learn,
    learn_change,
    learn_end,
    look_at,
)
from app.catalog.write import Record, as_json

__all__ = [
    "REASON",
    "Catalog",
    "Changes",
    "Copied",
    "Failure",
    "Found",
    "Image",
    "Loaded",
    "Metadata",
    "Page",
    "Query",
    "Record",
    "Token",
    "Upstream",
    "Version",
    "add_token",
    "as_json",
    "check_count",
    "copy_found",
    "export",
    "find_token",
    "learn",
    "learn_change",
    "learn_end",
    "list_tokens",
    "load",
    "look_at",
    "prepare",
    "revoke_tokens",
]
