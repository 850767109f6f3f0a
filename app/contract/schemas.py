"""OpenAPI 3.0 schemas: compiled into validators, and described in messages."""

import json
from collections.abc import Iterable
from functools import reduce
from operator import getitem
from typing import Any

import jsonschema_rs

from app.text import escape_control_characters

Schema = dict[str, Any]

_KEYWORDS = {"x-propertyNames": "propertyNames"}  # which OpenAPI 3.0 lacks
# Characters. A validation error quotes the invalid value, which may be long.
_MAX_MESSAGE_LENGTH = 300
_MAX_VALUE_LENGTH = 100


def compile_schema(schema: Schema, **options: Any) -> jsonschema_rs.Validator:
    """Compile a schema, all references resolved.

    With the draft 2020-12, jsonschema-rs checks all formats that the contract uses, such as uuid and uri-reference.
    """
    return jsonschema_rs.Draft202012Validator(to_json_schema(schema), validate_formats=True, **options)


def describe(schema: Schema) -> str:
    """Describe the values that a schema accepts: by its `x-expected`, enum, range or type."""
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema["type"] == "integer":
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    if "required" in schema:
        return f"an object with {', '.join(schema['required'])}"
    return f"of type {schema['type']}"


def is_valid(validator: jsonschema_rs.Validator, document: object) -> bool:
    """Return whether a document conforms to the schema. One that is nested too deeply does not."""
    try:
        return validator.is_valid(document)
    except ValueError:  # jsonschema-rs reached its recursion limit
        return False


def explain_error(validator: jsonschema_rs.Validator, schema: Schema, value: Any, name: str) -> str | None:
    """Return which part of a field is invalid and what its schema accepts there, in one line; None if it is valid."""
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        where = _format_path([name, *error.instance_path])
        for step in error.instance_path:
            value = value[step]
            schema = (
                schema["items"]
                if isinstance(step, int)
                else schema.get("properties", {}).get(step) or schema["additionalProperties"]
            )
        return escape_control_characters(f"{where}: {_format_value(value)} is not {describe(schema)}")
    except ValueError:  # jsonschema-rs reached its recursion limit
        return f"{name} is nested too deeply"
    return None


def first_error(validator: jsonschema_rs.Validator, document: object, schema: Schema | None = None) -> str | None:
    """Return the first validation error of a document in one line, or None if it is valid.

    With the schema of the validator, the error states its `x-expected` instead of a pattern or a format. `validate`
    stops at the first error; collecting all errors takes minutes for a small document with many.
    """
    try:
        validator.validate(document)
    except jsonschema_rs.ValidationError as error:
        return _format_error(error, schema)
    except ValueError:  # jsonschema-rs reached its recursion limit
        return "it is nested too deeply"
    return None


def _format_error(error: jsonschema_rs.ValidationError, schema: Schema | None) -> str:
    where = _format_path(error.instance_path)
    message = _truncate(error.message, _MAX_MESSAGE_LENGTH)
    *steps, keyword = error.schema_path
    if schema and keyword in {"pattern", "format"}:
        part = reduce(getitem, steps, to_json_schema(schema))
        if "x-expected" in part:
            message = f"{_format_value(error.instance)} is not {describe(part)}"
    return escape_control_characters(f"{where}: {message}" if where else message)


def _format_path(steps: Iterable[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _format_value(value: object) -> str:
    """Return the beginning of a value as JSON."""
    return _truncate(json.dumps(value, ensure_ascii=False), _MAX_VALUE_LENGTH)


def _truncate(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def to_json_schema(schema: Any) -> Any:
    """Convert an OpenAPI 3.0 schema to JSON Schema: `nullable`, and keywords that OpenAPI lacks (`x-`)."""
    if isinstance(schema, list):
        return [to_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {_KEYWORDS.get(key, key): to_json_schema(value) for key, value in schema.items() if key != "nullable"}
    if schema.get("nullable") is True:
        converted["type"] = [schema["type"], "null"]
        if "enum" in schema:
            converted["enum"] = [*schema["enum"], None]
    return converted
