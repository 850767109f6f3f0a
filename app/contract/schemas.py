"""OpenAPI 3.0 schemas: compiled into validators, and described in messages."""

from typing import Any

import jsonschema_rs

from app.text import escape_control_characters

Schema = dict[str, Any]

_KEYWORDS = {"x-propertyNames": "propertyNames"}  # which OpenAPI 3.0 lacks
_MAX_MESSAGE_LENGTH = 300  # characters: a validation error quotes the invalid value, which may be long


def compile_schema(schema: Schema, **options: Any) -> jsonschema_rs.Validator:
    """Compile a schema, all references resolved.

    With the draft 2020-12, jsonschema-rs checks all formats that the contract uses, such as uuid and uri-reference.
    """
    return jsonschema_rs.Draft202012Validator(_as_json_schema(schema), validate_formats=True, **options)


def describe(schema: Schema) -> str:
    """Describe the values that a schema accepts: by its `x-expected`, enum, range or type."""
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema["type"] == "integer":
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    return f"of type {schema['type']}"


def first_error(validator: jsonschema_rs.Validator, document: object) -> str | None:
    """Return the first validation error of a document in one line, or None if it is valid.

    `validate` stops at the first error; collecting all errors takes minutes for a small document with many.
    """
    try:
        validator.validate(document)
    except jsonschema_rs.ValidationError as error:
        return _format_error(error)
    except ValueError:  # jsonschema-rs reached its recursion limit
        return "it is nested too deeply"
    return None


def _format_error(error: jsonschema_rs.ValidationError) -> str:
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    message = error.message if len(error.message) <= _MAX_MESSAGE_LENGTH else f"{error.message[:_MAX_MESSAGE_LENGTH]}…"
    return escape_control_characters(f"{where.lstrip('.')}: {message}" if where else message)


def _as_json_schema(schema: Any) -> Any:
    """Convert an OpenAPI 3.0 schema to JSON Schema: `nullable`, and keywords that OpenAPI lacks (`x-`)."""
    if isinstance(schema, list):
        return [_as_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {_KEYWORDS.get(key, key): _as_json_schema(value) for key, value in schema.items() if key != "nullable"}
    if schema.get("nullable") is True:
        converted["type"] = [schema["type"], "null"]
        if "enum" in schema:
            converted["enum"] = [*schema["enum"], None]
    return converted
