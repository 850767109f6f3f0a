"""The document without security."""

from typing import Any

from app.contract.schemas import Schema


def without_security(document: Schema) -> Schema:
    """Give the document of a service that asks nobody who is calling."""
    unsecured: Schema = _prune(document, _security_only_refs(document))
    return unsecured | {"security": []}


def _security_only_refs(document: Schema) -> set[str]:
    """Find the components that only a document with security has, as they are referred to."""
    return {
        f"#/components/{kind}/{name}"
        for kind, components in document["components"].items()
        for name, component in components.items()
        if component.get("x-requires-auth")
    }


def _prune(node: Any, gone: set[str]) -> Any:
    """Leave out what is marked, and what refers to it."""
    if isinstance(node, list):
        return [_prune(each, gone) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: _prune(value, gone) for key, value in node.items() if not _is_pruned(value, gone)}


def _is_pruned(node: Any, gone: set[str]) -> bool:
    return isinstance(node, dict) and (node.get("x-requires-auth", False) or node.get("$ref") in gone)
