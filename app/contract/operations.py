"""The operations of the contract: parameters, request bodies and responses, compiled into validators."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl
from urllib.parse import quote as url_quote

import orjson

from app.contract.schemas import Schema, compile_schema, describe, first_error
from app.errors import InvalidBody, InvalidParameter, InvalidResponse
from app.text import quote
from app.timestamps import is_date_time

_NO_CONTENT = {"type": "string", "nullable": True, "enum": []}  # accepts null only: there is no document
_INTEGER = re.compile("[0-9]{1,1000}")


class Parameter:
    """A path or query parameter of an operation."""

    def __init__(self, definition: Schema) -> None:
        """Compile a parameter object of the document, all references resolved."""
        self.name: str = definition["name"]
        self.required: bool = definition.get("required", False)
        self.schema: Schema = definition["schema"]
        self.expected = describe(self.schema)
        self._ignores_case: bool = definition.get("x-ignore-case", False)
        self._validator = compile_schema(self.schema, formats={"date-time": is_date_time})

    def parse(self, text: str) -> str | int:
        """Return the value of the percent-decoded text. Raises InvalidParameter unless it conforms to the schema."""
        if not _is_unicode(text):
            raise InvalidParameter(self.name, f": {quote(_percent_encode(text))} is not percent-encoded UTF-8")
        value = self._convert(text)
        if not self._validator.is_valid(value):
            hint = "; encode '+' as %2B" if self.schema.get("format") == "date-time" and " " in text else ""
            raise InvalidParameter(self.name, f": {quote(text)} is not {self.expected}{hint}")
        return value

    def _convert(self, text: str) -> str | int:
        if self.schema["type"] == "integer" and _INTEGER.fullmatch(text):
            return int(text)
        # Some other characters have an ASCII letter as their upper case.
        return text.upper() if self._ignores_case and text.isascii() else text


class Operation:
    """The parameters, request body and responses of one operation."""

    def __init__(self, definition: Schema) -> None:
        """Compile an operation object of the document, all references resolved."""
        parameters: dict[str, dict[str, Parameter]] = {"path": {}, "query": {}, "header": {}}
        for parameter in definition["parameters"]:
            parameters[parameter["in"]][parameter["name"]] = Parameter(parameter)
        self.path, self.query = parameters["path"], parameters["query"]
        self._defaults = {n: each.schema["default"] for n, each in self.query.items() if "default" in each.schema}
        self._body_schema = _json_schema(definition["requestBody"]) if "requestBody" in definition else None
        self._body = compile_schema(self._body_schema) if self._body_schema else None
        self.responses = {status: compile_schema(schema) for status, schema in response_schemas(definition)}

    def parse_path(self, texts: Mapping[str, str]) -> dict[str, str | int]:
        """Return the values of the decoded path parameters. Raises InvalidParameter for the first that is not valid."""
        return {name: parameter.parse(texts[name]) for name, parameter in self.path.items()}

    def parse_query(self, query_string: bytes, *, lenient: bool) -> dict[str, str | int]:
        """Return the values of the query parameters that a query has, and of those that have a default.

        Raises InvalidParameter for the first that is unknown, contradictory, invalid or missing. If `lenient`, unknown
        parameters are ignored, and of a parameter with several values the last one counts.
        """
        texts: dict[str, str] = {}
        for name, text in _decode_query(query_string):
            if name in self.query:
                if texts.setdefault(name, text) != text and not lenient:
                    raise InvalidParameter(name, " appears more than once, with different values")
                texts[name] = text
            elif not lenient:
                accepted = ", ".join(sorted(self.query)) or "none"
                raise InvalidParameter(name, f" is unknown; accepted parameters: {accepted}")
        values = {name: self.query[name].parse(text) for name, text in texts.items()}
        for name, parameter in self.query.items():
            if parameter.required and name not in texts:
                raise InvalidParameter(name, f" is missing; expected {parameter.expected}")
        return {**self._defaults, **values}

    def parse_body(self, body: bytes) -> Any:
        """Return the document of a request body. Raises InvalidBody unless it is JSON and conforms to the schema."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as reason:
            raise InvalidBody(f"it is not JSON: {reason}") from None
        error = self._body and first_error(self._body, document, self._body_schema)
        if error:
            raise InvalidBody(error)
        return document

    def validate_response(self, status: int, document: Any) -> None:
        """Raise InvalidResponse unless the document conforms to the schema of responses with this status."""
        if status not in self.responses:
            raise InvalidResponse(f"the contract has no response with status {status}")
        error = first_error(self.responses[status], document)
        if error:
            raise InvalidResponse(error)


def response_schemas(definition: Schema) -> Iterator[tuple[int, Schema]]:
    """Yield the status and the schema of each response of an operation object."""
    for status, response in definition["responses"].items():
        yield int(status), _json_schema(response) if "content" in response else _NO_CONTENT


def _json_schema(definition: Schema) -> Schema:
    """Return the JSON schema of a request body object or a response object."""
    return definition["content"]["application/json"]["schema"]  # type: ignore[no-any-return]


def _decode_query(query_string: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and value of each query parameter in order; bytes that are not UTF-8 become surrogates in values.

    Raises InvalidParameter for a name that is not UTF-8.
    """
    text = query_string.decode("ascii", "surrogateescape")
    for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
        if not _is_unicode(name):
            raise InvalidParameter(_percent_encode(name), " is not percent-encoded UTF-8")
        yield name, value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _percent_encode(text: str) -> str:
    return url_quote(text, errors="surrogateescape")
