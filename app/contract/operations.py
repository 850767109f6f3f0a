"""Operations of the contract, compiled."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from urllib.parse import quote as percent_encoded

import jsonschema_rs
import orjson

from app.contract.schemas import Schema, compile_schema, describe, first_error
from app.errors import InvalidBody, InvalidParameter, InvalidResponse
from app.text import quote
from app.timestamps import is_date_time

_NO_CONTENT = {"type": "string", "nullable": True, "enum": []}  # no document
_INTEGER = re.compile("[0-9]{1,1000}")


@dataclass(frozen=True)
class Parameter:
    """One parameter of an operation."""

    name: str
    required: bool
    schema: Schema
    expected: str
    validator: jsonschema_rs.Validator

    @classmethod
    def of(cls, definition: Schema) -> "Parameter":
        """Compile a parameter of the document, all references resolved."""
        schema = definition["schema"]
        return cls(
            name=definition["name"],
            required=definition.get("required", False),
            schema=schema,
            expected=describe(schema),
            validator=compile_schema(schema, formats={"date-time": is_date_time}),
        )

    def check(self, text: str) -> None:
        """Raise BadParameter unless the text, as it came in the URL, is what the contract says."""
        if not _is_unicode(text):
            raise InvalidParameter(self.name, f": {quote(_percent_encode(text))} is not UTF-8, percent-encoded")
        value = int(text) if self.schema["type"] == "integer" and _INTEGER.fullmatch(text) else text
        if not self.validator.is_valid(value):
            hint = "; a '+' is sent as %2B" if self.schema.get("format") == "date-time" and " " in text else ""
            raise InvalidParameter(self.name, f": {quote(text)} is not {self.expected}{hint}")


@dataclass(frozen=True)
class Operation:
    """What one operation takes and answers."""

    path: Mapping[str, Parameter]
    query: Mapping[str, Parameter]
    body: jsonschema_rs.Validator | None
    answers: Mapping[int, jsonschema_rs.Validator]

    @classmethod
    def of(cls, definition: Schema) -> "Operation":
        """Compile an operation of the document, all references resolved."""
        parameters: dict[str, dict[str, Parameter]] = {"path": {}, "query": {}}
        body = definition.get("requestBody")
        for parameter in definition.get("parameters", []):
            parameters[parameter["in"]][parameter["name"]] = Parameter.of(parameter)
        answers = {status: compile_schema(schema) for status, schema in response_schemas(definition)}
        return cls(parameters["path"], parameters["query"], body and compile_schema(_json_schema(body)), answers)

    def check_path(self, values: Mapping[str, str]) -> None:
        """Raise BadParameter unless the decoded parts of the path are what the contract says."""
        for name, parameter in self.path.items():
            parameter.check(values[name])

    def check_query(self, query_string: bytes, *, ignore_unknown: bool) -> None:
        """Raise BadParameter for the first parameter of a query that is not what the contract says."""
        seen = set()
        for name, text in _decode_query(query_string):
            if name in self.query:
                if name in seen:
                    raise InvalidParameter(name, " came more than once")
                seen.add(name)
                self.query[name].check(text)
            elif not ignore_unknown:
                known = f"known are {', '.join(sorted(self.query))}" if self.query else "none is"
                raise InvalidParameter(name, f" is not known; {known}")
        for name, parameter in self.query.items():
            if parameter.required and name not in seen:
                raise InvalidParameter(name, f" is missing; it takes {parameter.expected}")

    def check_body(self, body: bytes) -> None:
        """Raise BadBody unless a body is JSON of the shape that the contract says."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as reason:
            raise InvalidBody(f"it is not JSON: {reason}") from None
        wrong = self.body and first_error(self.body, document)
        if wrong:
            raise InvalidBody(wrong)

    def check_answer(self, status: int, document: Any) -> None:
        """Raise BadAnswer unless a document is what the contract says of answers with this status."""
        if status not in self.answers:
            raise InvalidResponse(f"the contract has no answer with status {status}")
        wrong = first_error(self.answers[status], document)
        if wrong:
            raise InvalidResponse(wrong)


def response_schemas(definition: Schema) -> Iterator[tuple[int, Schema]]:
    """Yield the status and schema of each response of an operation."""
    for status, answer in definition["responses"].items():
        yield int(status), _json_schema(answer) if "content" in answer else _NO_CONTENT


def _json_schema(described: Schema) -> Schema:
    """Give the schema of a request's body or an answer's."""
    return described["content"]["application/json"]["schema"]  # type: ignore[no-any-return]


def _decode_query(query_string: bytes) -> Iterator[tuple[str, str]]:
    """Give the pairs of a query, what is no UTF-8 in them as surrogates, in the order in which they came."""
    text = query_string.decode("ascii", "surrogateescape")
    for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
        if not _is_unicode(name):
            raise InvalidParameter(_percent_encode(name), " is not UTF-8, percent-encoded")
        yield name, value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _percent_encode(text: str) -> str:
    return percent_encoded(text, errors="surrogateescape")
