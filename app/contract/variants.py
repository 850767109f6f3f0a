"""The variants of the OpenAPI document: without authentication, and without the parts of a test double."""

from typing import Any

from app.contract.schemas import Schema

_REQUIRES_AUTH, TEST_DOUBLE = "x-requires-auth", "x-test-double"


def variant(document: Schema, *, secured: bool, testing: bool) -> Schema:
    """Return the document without the parts for authentication (unless `secured`) and a test double (`testing`)."""
    if not testing:
        document = _without(document, TEST_DOUBLE)
    if secured:
        return document
    document = _without(document, _REQUIRES_AUTH) | {"security": []}
    del document["components"]["securitySchemes"]  # even if it is empty, Swagger UI would show a button
    return document


def _without(document: Schema, mark: str) -> Schema:
    """Return a copy of the document without the marked parts, and without references to marked components."""
    removed = {
        f"#/components/{section}/{name}"
        for section, components in document["components"].items()
        for name, component in components.items()
        if component.get(mark)
    }
    return _prune(document, mark, removed)  # type: ignore[no-any-return]


def _prune(node: Any, mark: str, removed: set[str]) -> Any:
    def is_pruned(child: Any) -> bool:
        if isinstance(child, list):  # a list, such as parameters, is removed if all of its elements are
            return bool(child) and all(map(is_pruned, child))
        return isinstance(child, dict) and (child.get(mark, False) or child.get("$ref") in removed)

    if isinstance(node, list):
        return [_prune(each, mark, removed) for each in node if not is_pruned(each)]
    if not isinstance(node, dict):
        return node
    return {key: _prune(value, mark, removed) for key, value in node.items() if not is_pruned(value)}
