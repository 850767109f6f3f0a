"""Hooks for Schemathesis: facts about the service that OpenAPI 3.0 cannot express."""

from http import HTTPStatus
from typing import Any

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData


@schemathesis.hook
def before_load_schema(_context: Any, document: dict[str, Any]) -> None:
    """Replace the contract's extension x-propertyNames by patternProperties."""
    schemas = document["components"]["schemas"]
    for schema in (schemas["NewMetadata"]["properties"]["metadata"], schemas["NewMetadataItem"]["properties"]["meta"]):
        del schema["x-propertyNames"]
        schema["patternProperties"] = {schemas["MetadataKey"]["pattern"]: schema["additionalProperties"]}
        schema["additionalProperties"] = False


@schemathesis.hook.apply_to(operation_id="setMetadataItem")
def map_case(_context: Any, case: Any) -> Any:
    """Make the key in the path equal to the key in the body, as valid requests require."""
    if case.meta.generation.mode.is_positive:
        (case.path_parameters["key"],) = case.body["meta"]
    return case


@schemathesis.hook.apply_to(operation_id=["listImages", "listImagesDetails"])
def filter_failure(_context: Any, failure: Any, _case: Any, response: Any) -> bool:
    """Accept the rejection of a marker that is not the id of an image, which the contract cannot know."""
    return not (
        isinstance(failure, RejectedPositiveData)
        and response.status_code == HTTPStatus.BAD_REQUEST
        and " is not the id of an image that " in response.json()["badRequest"]["message"]
    )
