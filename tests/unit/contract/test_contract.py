"""The contract is valid, complete, and the only definition of the interface."""

import inspect
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml
from httpx2 import Response
from inflection import underscore
from openapi_spec_validator import validate

from app.api.operations import resolve_operation
from app.catalog.models import ImageFilters
from app.contract.document import Contract
from app.contract.operations import Parameter
from app.contract.schemas import Schema, compile_schema
from app.errors import InvalidResponse
from app.resources import load_yaml, resource_path
from tests.conftest import Serve
from tests.support.projects import LIST_URL

CONTRACT = Contract.load(secured=True)
UNSECURED = Contract.load(secured=False)
DOUBLE = Contract.load(secured=True, testing=True)  # of a test double: the whole document


def edited(pattern: str, replacement: str) -> Contract:
    text, count = re.subn(pattern, replacement, resource_path("openapi/compute-images.yaml").read_text())
    assert count == 1
    return Contract(load_yaml(text.encode()))


def operations(document: Schema = CONTRACT.document) -> Iterator[Schema]:
    for path in document["paths"].values():
        yield from (path[method] for method in path.keys() & {"get", "put", "post", "delete"})


@pytest.mark.parametrize("contract", [CONTRACT, UNSECURED, DOUBLE], ids=["secured", "unsecured", "double"])
def test_document_is_valid_openapi(contract: Contract) -> None:
    assert contract.document["openapi"] == "3.0.3"
    validate(contract.document)


@pytest.mark.parametrize("url", ["/openapi.json", "/openapi.yaml"])
@pytest.mark.parametrize("auth", ["none", "token"])
def test_served_document_is_the_one_that_is_applied(serve: Serve, sample_catalog: Path, auth: str, url: str) -> None:
    response = serve(sample_catalog, auth=auth).get(url)
    assert response.status_code == 200
    document = (UNSECURED if auth == "none" else CONTRACT).document
    servers = [document["servers"][0] | {"url": "http://compute.test"}]
    assert yaml.safe_load(response.content) == document | {"servers": servers}
    assert "#/components/schemas/Image" in response.text
    assert response.headers["content-type"] == f"application/{url.partition('.')[2]}"


@pytest.mark.parametrize("url", ["https://compute.test/a'b", "http://[::1]:8774", "http://compute.test/a:"])
@pytest.mark.parametrize("contract", [CONTRACT, UNSECURED], ids=["secured", "unsecured"])
def test_document_names_the_url_of_the_service(contract: Contract, url: str) -> None:
    for text in (contract.json_at(url), contract.yaml_at(url)):
        assert [server["url"] for server in yaml.safe_load(text)["servers"]] == [url]


def test_yaml_preserves_text_of_several_lines() -> None:
    assert b"\n  description: |\n    Lists, shows and changes the images of a catalog" in UNSECURED.yaml


def test_unsecured_document_does_not_mention_tokens() -> None:
    assert UNSECURED.document["security"] == []
    assert "securitySchemes" not in UNSECURED.document["components"]
    for word in (b"nauthorized", b"ProjectMismatch", b"conflictingRequest", b"X-Auth-Token", b"x-requires-auth"):
        assert word in CONTRACT.json
        assert word not in UNSECURED.json


def test_unsecured_document_is_otherwise_equal() -> None:
    assert UNSECURED.operations.keys() == CONTRACT.operations.keys()
    for name, operation in UNSECURED.operations.items():
        secured = CONTRACT.operations[name]
        assert operation.responses.keys() <= secured.responses.keys() <= operation.responses.keys() | {401, 403, 409}
        assert (operation.path.keys(), operation.query.keys()) == (secured.path.keys(), secured.query.keys())
    for kind, components in UNSECURED.document["components"].items():
        assert components.items() <= CONTRACT.document["components"][kind].items()


def test_each_operation_has_a_function_with_its_parameters() -> None:
    for path, item in DOUBLE.document["paths"].items():
        for operation in operations({"paths": {path: item}}):
            accepted = set(inspect.signature(resolve_operation(operation["operationId"])).parameters)
            assert set(re.findall(r"{(\w+)}", path)) == accepted - {"body", "query"}
            assert ("requestBody" in operation) == ("body" in accepted)


def test_document_without_the_test_double_is_otherwise_equal() -> None:
    for kind, components in CONTRACT.document["components"].items():
        assert components.items() <= DOUBLE.document["components"][kind].items()
    prefer = {"parameters": [{"$ref": "#/components/parameters/Prefer"}]}
    for path, item in DOUBLE.document["paths"].items():
        assert item == (CONTRACT.document["paths"][path] | prefer if path in CONTRACT.document["paths"] else item)
    assert DOUBLE.operations.keys() - DOUBLE.control_ids == CONTRACT.operations.keys()


def test_each_path_supports_get() -> None:
    """Without GET, routing would try the next path that matches, which is less exact."""
    assert all("get" in item for item in CONTRACT.document["paths"].values())


PUBLIC = {"listVersions", "showVersion", "showVersionOfRoot", "checkHealth", "checkReadiness"}


def test_each_operation_requires_a_token_for_the_project_unless_public() -> None:
    assert CONTRACT.document["security"] == [{"token": []}]
    for path, item in CONTRACT.document["paths"].items():
        for operation in item.values():
            if operation["operationId"] in PUBLIC:
                assert operation["security"] == []
            else:
                assert "security" not in operation
                assert "{tenant_id}" in path
                assert {"401", "403"} <= operation["responses"].keys()


def test_each_filter_of_the_list_is_a_filter_of_the_catalog() -> None:
    query = CONTRACT.operations["listImagesDetails"].query
    assert {underscore(name) for name in query} == {each.name.rstrip("_") for each in fields(ImageFilters)}


@pytest.mark.parametrize("name", CONTRACT.document["components"]["parameters"])
def test_each_parameter_has_valid_examples(name: str) -> None:
    definition = jsonschema_rs.dereference(CONTRACT.document)["components"]["parameters"][name]
    described = definition["schema"].get("enum") or re.findall(r"such as\s`([^`]+)`", definition["description"])
    examples = [definition["example"]] if definition.get("required") else described
    assert examples
    for example in examples:
        Parameter(definition).parse(example)


def test_only_required_parameters_have_an_example() -> None:
    for definition in CONTRACT.document["components"]["parameters"].values():
        assert ("example" in definition) == definition.get("required", False)


def examples() -> Iterator[Any]:
    for operation in operations(jsonschema_rs.dereference(DOUBLE.document)):
        for status, response in operation["responses"].items():
            if "content" not in response:
                continue
            content = response["content"]["application/json"]
            named = content.get("examples") or {"example": {"value": content["example"]}}
            for name, example in named.items():
                yield pytest.param(operation["operationId"], int(status), example["value"], id=f"{status}-{name}")


def test_component_has_the_schema_that_has_its_name() -> None:
    """Generators such as swagger-typescript-api take a response or a request body for the schema of the same name."""
    components = CONTRACT.document["components"]
    for name, component in [*components["responses"].items(), *components["requestBodies"].items()]:
        if name in components["schemas"]:
            assert component["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}


@pytest.mark.parametrize(("operation", "status", "example"), list(examples()))
def test_example_conforms_to_its_schema(operation: str, status: int, example: Any) -> None:
    DOUBLE.operations[operation].validate_response(status, example)


def request_examples() -> Iterator[Any]:
    for operation in operations(jsonschema_rs.dereference(DOUBLE.document)):
        if "requestBody" in operation:
            example = operation["requestBody"]["content"]["application/json"]["example"]
            yield pytest.param(operation["operationId"], example, id=operation["operationId"])


@pytest.mark.parametrize(("operation", "example"), list(request_examples()))
def test_example_of_a_request_body_conforms_to_its_schema(operation: str, example: Any) -> None:
    DOUBLE.operations[operation].parse_body(orjson.dumps(example))


@pytest.mark.parametrize(
    ("name", "file"),
    [("documented", "data/list-images-details.json"), ("failedReplication", "data/failed-replication.json")],
)
def test_documented_responses_are_examples_of_the_contract(name: str, file: str) -> None:
    example = CONTRACT.document["components"]["examples"][name]["value"]
    assert example == orjson.loads(resource_path(file).read_bytes())


def test_image_file_has_the_fields_of_the_api_and_five_more() -> None:
    schemas = yaml.safe_load(resource_path("openapi/catalog-file.yaml").read_bytes())
    fields_of_file = set(schemas["definitions"]["Image"]["properties"])
    fields_of_api = set(CONTRACT.document["components"]["schemas"]["Image"]["properties"])
    assert fields_of_file - fields_of_api == {"owner", "visibility", "members", "pending_members", "os_hidden"}
    assert fields_of_api <= fields_of_file


OLD_SHAPE, NEW_SHAPE = r"required: \[id, name, status, progress,", "required: [id, name, status, progress, server,"
CHANGES: dict[str, tuple[str, str, dict[str, int | str]]] = {
    "enum": (
        r"enum: \[BASE, SERVER, ALL, snapshot, backup\]",
        "enum: [BASE, SERVER, ALL, fakery]",
        {
            "type=fakery": 0,
            "type=snapshot": "Parameter 'type': 'snapshot' is not one of BASE, SERVER, ALL, fakery.",
        },
    ),
    "range": (
        r"(name: limit\n(?:.*\n)*? +)minimum: 0\n +maximum: 2147483647",
        r"\1minimum: 2\n        maximum: 9",
        {"limit=2": 2, "limit=10": "Parameter 'limit': '10' is not a whole number from 2 to 9."},
    ),
    "default": ("default: ALL", "default: SERVER", {"": 0}),
    "case": (
        "x-ignore-case: true",
        "x-ignore-case: false",
        {"status=active": "Parameter 'status': 'active' is not one of ACTIVE, SAVING, DELETED, ERROR, UNKNOWN."},
    ),
    "required": (
        r"name: marker\n      in: query",
        r"name: marker\n      in: query\n      required: true",
        {"": "Parameter 'marker' is missing; expected the id of an image that the project can see."},
    ),
    "response": (OLD_SHAPE, NEW_SHAPE, {"": 500}),
}


@pytest.mark.parametrize(("pattern", "replacement", "outcomes"), CHANGES.values(), ids=CHANGES.keys())
def test_service_follows_a_change_of_the_document(
    serve: Serve, sample_catalog: Path, pattern: str, replacement: str, outcomes: dict[str, int | str]
) -> None:
    client = serve(sample_catalog, edited(pattern, replacement))
    assert {query: outcome(client.get(f"{LIST_URL}?{query}")) for query in outcomes} == outcomes


def outcome(response: Response) -> int | str:
    """Return the number of images, the message of a 400, or another status."""
    match response.status_code:
        case 200:
            return len(response.json()["images"])
        case 400:
            return str(response.json()["badRequest"]["message"])
    return response.status_code


@pytest.mark.parametrize("status", [204, 418])
def test_undocumented_status_is_invalid(status: int) -> None:
    with pytest.raises(InvalidResponse, match=f"^the contract has no response with status {status}$"):
        CONTRACT.operations["listImagesDetails"].validate_response(status, {})


def image(**changes: Any) -> dict[str, Any]:
    documented = CONTRACT.document["components"]["examples"]["documented"]["value"]["images"][0]
    return {name: value for name, value in (documented | changes).items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "beef"}, 'images[0].id: "beef" is not a "uuid"'),
        ({"id": "A" * 36}, f'images[0].id: "{"A" * 36}" does not match '),
        ({"name": ...}, 'images[0]: "name" is a required property'),
        ({"name": 1}, 'images[0].name: 1 is not of types "null", "string"'),
        ({"status": "active"}, 'images[0].status: "active" is not one of '),
        ({"progress": 101}, "images[0].progress: 101 is greater than the maximum of 100"),
        ({"created": "2011-01-01T01:02:03+00:00"}, 'images[0].created: "2011-01-01T01:02:03+00:00" does not match '),
        ({"created": "2011-13-01T01:02:03Z"}, 'images[0].created: "2011-13-01T01:02:03Z" is not a "date-time"'),
        ({"created": "2016-12-31T23:59:60Z"}, 'images[0].created: "2016-12-31T23:59:60Z" does not match '),
        ({"created": "0000-01-01T00:00:00Z"}, 'images[0].created: "0000-01-01T00:00:00Z" does not match '),
        ({"minDisk": -1}, "images[0].minDisk: -1 is less than the minimum of 0"),
        ({"metadata": {"a": {"b": "c"}}}, 'images[0].metadata.a: {"b":"c"} is not of types "null", "string"'),
        ({"owner": "me"}, "images[0]: Additional properties are not allowed ('owner' was unexpected)"),
        ({"links": []}, "images[0].links: [] has less than 3 items"),
    ],
)
def test_each_field_of_a_response_is_validated(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidResponse) as raised:
        CONTRACT.operations["listImagesDetails"].validate_response(200, {"images": [image(**changes)]})
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("operation_id", ["listImages", "listImagesDetails"])
def test_list_can_be_validated_in_parts(operation_id: str) -> None:
    images = CONTRACT.list_validator(operation_id, "images")
    complete = (
        image() if operation_id == "listImagesDetails" else {name: image()[name] for name in ("id", "name", "links")}
    )
    assert images.is_valid([])
    assert images.is_valid([complete])
    assert not images.is_valid([complete, complete | {"id": "1"}])


@pytest.mark.parametrize("constraint", [{"minItems": 1}, {"maxItems": 1}, {"uniqueItems": True}])
@pytest.mark.parametrize("response", ["ImageDetailsList", "StaleImageDetailsList"])
def test_list_with_other_constraints_than_those_of_its_items_cannot_be_validated_in_parts(
    response: str, constraint: dict[str, Any]
) -> None:
    document = deepcopy(CONTRACT.document)
    content = document["components"]["responses"][response]["content"]["application/json"]
    content["schema"] = deepcopy(document["components"]["schemas"]["ImageDetailsList"])
    content["schema"]["properties"]["images"] |= constraint
    with pytest.raises(ValueError, match=r"^listImagesDetails: the list 'images' cannot be validated in parts$"):
        Contract(document).list_validator("listImagesDetails", "images")


def test_nullable_enum_accepts_null() -> None:
    validator = compile_schema({"type": "string", "nullable": True, "enum": ["a"]})
    assert [validator.is_valid(value) for value in ("a", None, "b", 1)] == [True, True, False, False]
