"""The schema of image files, openapi/catalog-file.yaml, with its example and the defaults of the fields."""

from functools import cache

import jsonschema_rs

from app.catalog.models import JsonObject
from app.contract.schemas import Schema, to_json_schema
from app.resources import load_yaml, resource_path


def _load(name: str) -> Schema:
    return load_yaml(resource_path(name).read_bytes())  # type: ignore[no-any-return]


@cache
def _schemas() -> Schema:
    """Return the schemas with their references into the contract resolved."""
    folder = "file:///openapi/"
    contract = (f"{folder}compute-images.yaml", _load("openapi/compute-images.yaml"))
    schema = _load("openapi/catalog-file.yaml")
    resolved: Schema = jsonschema_rs.dereference(
        schema, registry=jsonschema_rs.Registry([contract]), base_uri=f"{folder}catalog-file.yaml"
    )
    image = resolved["properties"]["images"]["items"] = resolved["definitions"]["Image"]
    for name, field in schema["definitions"]["Image"]["properties"].items():  # what stands beside a $ref
        image["properties"][name] |= {key: value for key, value in field.items() if key in {"default", "nullable"}}
    return resolved


@cache
def image_schema() -> Schema:
    """Return the schema of an image in an image file."""
    return _schemas()["definitions"]["Image"]  # type: ignore[no-any-return]


def summary_schema() -> Schema:
    """Return the schema of an image in a list without details."""
    return _schemas()["definitions"]["ImageSummary"]  # type: ignore[no-any-return]


@cache
def field_defaults() -> JsonObject:
    """Return the fields of an image that have a default."""
    return {name: field["default"] for name, field in image_schema()["properties"].items() if "default" in field}


def example_file() -> JsonObject:
    """Return an example of an image file: a minimal image, and one with all fields."""
    return _load("openapi/catalog-file.yaml")["example"]  # type: ignore[no-any-return]


def file_schema() -> Schema:
    """Return the schema of image files as one JSON Schema, which editors understand."""
    schema: Schema = to_json_schema(
        {name: _schemas()[name] for name in ("type", "description", "required", "properties")}
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
