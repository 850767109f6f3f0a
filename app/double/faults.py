"""The faults of a test double: planned for an operation, or requested by the header Prefer."""

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
class PlannedFault:
    """How requests of an operation fail, and how often. The contract describes the fields."""

    operation: str | None
    status: int | None
    times: int
    delay: float
    drop: bool
    retry_after: int
    applied: str = ""  # the value of Preference-Applied

    def document(self) -> dict[str, Any]:
        """Return the fault as the contract defines it."""
        document = asdict(self)
        del document["applied"]
        return document


class FaultPlan:
    """The faults that will still occur, in their order."""

    def __init__(self, contract: Contract) -> None:
        self._properties: Schema = contract.document["components"]["schemas"]["TestFault"]["properties"]
        self._validators = {name: compile_schema(schema) for name, schema in self._properties.items()}
        self._defaults = {name: each["default"] for name, each in self._properties.items() if "default" in each}
        self._operations = contract.operations.keys() - contract.control_ids
        self._faults: list[PlannedFault] = []

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def add(self, fields: dict[str, Any]) -> PlannedFault:
        """Plan a fault, from a valid document. Raises InvalidBody if there is no such operation."""
        fault = self._build(fields)
        if fault.operation not in self._operations:
            known = ", ".join(sorted(self._operations))
            raise InvalidBody(f"fault.operation: {quote(fields['operation'])} is not one of {known}")
        self._faults.append(fault)
        return fault

    def documents(self) -> list[dict[str, Any]]:
        """Return the faults that will still occur, as the contract defines them."""
        return [fault.document() for fault in self._faults]

    def take(self, operation: str | None) -> PlannedFault | None:
        """Return the next fault of an operation, and count its occurrence."""
        fault = next((each for each in self._faults if each.operation == operation), None)
        if fault:
            fault.times -= 1
            if not fault.times:
                self._faults.remove(fault)
        return fault

    def requested(self, prefer: str) -> PlannedFault | None:
        """Return the fault that a Prefer header requests, or None. Raises InvalidParameter."""
        preferences: dict[str, Any] = {}
        for name, value in _parse_prefer(prefer):
            preferences.setdefault(name, value)  # of a repeated preference, the first one counts (RFC 7240)
        for name, value in preferences.items():
            error = explain_error(self._validators[name], self._properties[name], value, name)
            if error:
                raise InvalidParameter(PREFER, f": {error}")
        if not preferences:
            return None
        applied = ", ".join(name if value is True else f"{name}={value}" for name, value in preferences.items())
        return self._build({"operation": None} | preferences, applied)

    def _build(self, fields: dict[str, Any], applied: str = "") -> PlannedFault:
        complete = self._defaults | fields
        for name, value in complete.items():
            if self._properties[name]["type"] == "integer" and value is not None:
                complete[name] = int(value)  # in JSON, 503.0 is an integer, too
        return PlannedFault(**complete, applied=applied)


def _parse_prefer(header: str) -> Iterator[tuple[str, Any]]:
    """Yield the preferences that a test double knows, with values as in JSON: numbers, or true without a value."""
    for preference in parse_list_header(header):
        name, has_value, value = (part.strip() for part in preference.partition(";")[0].partition("="))
        if name.lower() in _PREFERENCES:
            yield name.lower(), _parse_value(value.strip('"')) if has_value else True


def _parse_value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
