"""The OpenAPI document of a service without authentication."""

from typing import Any

from app.contract.schemas import Schema


def without_security(document: Schema) -> Schema:
    """Return the document without security schemes and without the responses that only authentication can cause."""
    unsecured: Schema = _prune(document, _security_only_refs(document))
    del unsecured["components"]["securitySchemes"]  # Swagger UI would show a button for an empty object, too
    return unsecured | {"security": []}


def _security_only_refs(document: Schema) -> set[str]:
    """Return the references to all components that are marked with `x-requires-auth`."""
    return {
        f"#/components/{section}/{name}"
        for section, components in document["components"].items()
        for name, component in components.items()
        if component.get("x-requires-auth")
    }


def _prune(node: Any, removed: set[str]) -> Any:
    """Return a copy of a node without marked components and references to them."""
    if isinstance(node, list):
        return [_prune(each, removed) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: _prune(value, removed) for key, value in node.items() if not _is_pruned(value, removed)}


def _is_pruned(node: Any, removed: set[str]) -> bool:
    return isinstance(node, dict) and (node.get("x-requires-auth", False) or node.get("$ref") in removed)
