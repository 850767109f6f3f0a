"""Finding the function of an operation."""

from collections.abc import Callable

from flask import Response
from inflection import underscore

from app.api import health, images, metadata, testing, versions

Operation = Callable[..., Response]


def resolve_operation(operation_id: str) -> Operation:
    """Return the function that implements an operation: its name is the operationId in snake case."""
    name = underscore(operation_id)
    # If no module has the function, getattr raises the AttributeError that Connexion expects.
    module = next((each for each in (health, images, metadata, testing, versions) if hasattr(each, name)), versions)
    return getattr(module, name)  # type: ignore[no-any-return]
