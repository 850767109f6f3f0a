"""The failures of a test double: planned for an operation, or requested by the header Prefer."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from werkzeug.http import parse_list_header

from app.contract.document import Contract
from app.contract.schemas import Schema, compile_schema, explain_error
from app.errors import InvalidBody, InvalidParameter
from app.text import quote

PREFER = "Prefer"
_PREFERENCES = ("status", "delay", "drop")


@dataclass
class PlannedFailure:
    """How the requests of an operation fail, and how many of them. The contract describes the fields."""

    operation: str | None
    status: int | None
    times: int
    delay: float
    drop: bool
    retry_after: int
    applied: str = ""  # the value of Preference-Applied

    def document(self) -> dict[str, Any]:
        """Return the failure as the contract defines it."""
        document = asdict(self)
        del document["applied"]
        return document


class FailurePlan:
    """The failures that will still occur, in their order."""

    def __init__(self, contract: Contract) -> None:
        self._properties: Schema = contract.document["components"]["schemas"]["TestFailure"]["properties"]
        self._validators = {name: compile_schema(schema) for name, schema in self._properties.items()}
        self._defaults = {name: each["default"] for name, each in self._properties.items() if "default" in each}
        self._operations = contract.operations.keys() - contract.control_ids
        self._failures: list[PlannedFailure] = []

    def clear(self) -> None:
        """Remove all failures."""
        self._failures.clear()

    def add(self, fields: dict[str, Any]) -> PlannedFailure:
        """Plan a failure, from a valid document. Raises InvalidBody if it has no effect."""
        failure = self._build(fields)
        if failure.operation not in self._operations:
            known = ", ".join(sorted(self._operations))
            raise InvalidBody(f"failure.operation: {quote(fields['operation'])} is not one of {known}")
        if not (failure.status or failure.delay or failure.drop):
            raise InvalidBody("failure: nothing would fail; expected a status, a delay or drop")
        self._failures.append(failure)
        return failure

    def documents(self) -> list[dict[str, Any]]:
        """Return the failures that will still occur, as the contract defines them."""
        return [failure.document() for failure in self._failures]

    def take(self, operation: str | None) -> PlannedFailure | None:
        """Return the next failure of an operation, and count its occurrence."""
        failure = next((each for each in self._failures if each.operation == operation), None)
        if failure:
            failure.times -= 1
            if not failure.times:
                self._failures.remove(failure)
        return failure

    def requested(self, prefer: str) -> PlannedFailure | None:
        """Return the failure that a Prefer header requests, or None. Raises InvalidParameter."""
        preferences: dict[str, Any] = {}
        for name, value in _parse_prefer(prefer):
            preferences.setdefault(name, value)  # of a repeated preference, the first one counts (RFC 7240)
        for name, value in preferences.items():
            error = explain_error(self._validators[name], self._properties[name], value, name)
            if error:
                raise InvalidParameter(PREFER, f": {error}")
        if not preferences:
            return None
        failure = self._build({"operation": None} | preferences)
        # A response shows that the connection was not dropped.
        failure.applied = ", ".join(f"{name}={getattr(failure, name)}" for name in preferences if name != "drop")
        return failure

    def _build(self, fields: dict[str, Any]) -> PlannedFailure:
        complete = self._defaults | fields
        for name, value in complete.items():
            if self._properties[name]["type"] == "integer" and value is not None:
                complete[name] = int(value)  # in JSON, 503.0 is an integer, too
        return PlannedFailure(**complete)


def _parse_prefer(header: str) -> Iterator[tuple[str, Any]]:
    """Yield the preferences of a test double, with their values as JSON; without a value, a preference is true."""
    for preference in parse_list_header(header):
        name, has_value, value = (part.strip() for part in preference.partition(";")[0].partition("="))
        if name.lower() in _PREFERENCES:
            yield name.lower(), _parse_value(value.strip('"')) if has_value else True


def _parse_value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
