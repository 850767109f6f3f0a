"""What Schemathesis is told of the service beyond what OpenAPI 3.0 can say."""

from http import HTTPStatus
from typing import Any

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData


@schemathesis.hook
def before_load_schema(_context: Any, document: dict[str, Any]) -> None:
    """Say which keys metadata take, as older JSON Schema does: the contract has an extension for it."""
    schemas = document["components"]["schemas"]
    for schema in (schemas["NewMetadata"]["properties"]["metadata"], schemas["NewMetadataItem"]["properties"]["meta"]):
        del schema["x-propertyNames"]
        schema["patternProperties"] = {schemas["MetadataKey"]["pattern"]: schema["additionalProperties"]}
        schema["additionalProperties"] = False


@schemathesis.hook.apply_to(operation_id="setMetadataItem")
def map_case(_context: Any, case: Any) -> Any:
    """Let the path name the item that is in the body, where the service is to accept it."""
    if case.meta.generation.mode.is_positive:
        (case.path_parameters["key"],) = case.body["meta"]
    return case


@schemathesis.hook.apply_to(operation_id=["listImages", "listImagesDetails"])
def filter_failure(_context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Let a marker be refused that is no image's id: what ids there are, no contract says."""
    unknown = f" is not the id of an image that {case.path_parameters['tenant_id']} can see."
    return not (
        isinstance(failure, RejectedPositiveData)
        and response.status_code == HTTPStatus.BAD_REQUEST
        and response.json()["badRequest"]["message"].endswith(unknown)
    )
