"""Schemas as OpenAPI 3.0 writes them: compiled, and said in words."""

from typing import Any

import jsonschema_rs

from app.text import escape_control_characters

Schema = dict[str, Any]

_KEYWORDS = {"x-propertyNames": "propertyNames"}  # OpenAPI 3.0 lacks it
_MAX_MESSAGE_LENGTH = 300  # characters of a complaint, which quotes what it complains of


def compile_schema(schema: Schema, **options: Any) -> jsonschema_rs.Validator:
    """Compile a schema, all references resolved.

    2020-12 is the draft that really checks the formats of OpenAPI, uuid and uri-reference among them.
    """
    return jsonschema_rs.Draft202012Validator(_as_json_schema(schema), validate_formats=True, **options)


def describe(schema: Schema) -> str:
    """Say what a schema takes: as it says itself, or by its enum, its range, its type."""
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema["type"] == "integer":
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    return f"of type {schema['type']}"


def first_error(validator: jsonschema_rs.Validator, document: object) -> str | None:
    """Say in one line where a document is wrong first, and how; or None where it is as the schema says.

    It has to come from `validate`: where all errors are asked for, a small document with many takes minutes.
    """
    try:
        validator.validate(document)
    except jsonschema_rs.ValidationError as error:
        return _format_error(error)
    except ValueError:  # so jsonschema-rs says that its limit of recursion is reached
        return "it is nested too deeply"
    return None


def _format_error(error: jsonschema_rs.ValidationError) -> str:
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    message = error.message if len(error.message) <= _MAX_MESSAGE_LENGTH else f"{error.message[:_MAX_MESSAGE_LENGTH]}…"
    return escape_control_characters(f"{where.lstrip('.')}: {message}" if where else message)


def _as_json_schema(schema: Any) -> Any:
    """Say as JSON Schema does what OpenAPI 3.0 says in its own way: `nullable`, and what has no other way (`x-`)."""
    if isinstance(schema, list):
        return [_as_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {_KEYWORDS.get(key, key): _as_json_schema(value) for key, value in schema.items() if key != "nullable"}
    if schema.get("nullable") is True:
        plain["type"] = [schema["type"], "null"]
        if "enum" in schema:
            plain["enum"] = [*schema["enum"], None]
    return plain
