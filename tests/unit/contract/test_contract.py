"""The contract: that it is valid, that it is the only truth, and that nothing drifts from it."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml
from inflection import underscore
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from app.catalog.models import ImageFilters
from app.contract.document import Contract
from app.contract.operations import Parameter
from app.contract.schemas import Schema, compile_schema
from app.errors import InvalidResponse
from app.factory import resolve_operation
from app.resources import load_yaml, resource_path
from tests.conftest import Serve

LIST = "/v2/openstack/images/detail"

CONTRACT = Contract.load(secured=True)
OPEN = Contract.load(secured=False)


def edited(pattern: str, replacement: str) -> Contract:
    text, count = re.subn(pattern, replacement, CONTRACT.yaml.decode())
    assert count == 1
    return Contract(load_yaml(text.encode()))


def operations(document: Schema = CONTRACT.document) -> Iterator[Schema]:
    for path in document["paths"].values():
        yield from path.values()


def test_it_is_valid_openapi() -> None:
    assert CONTRACT.document["openapi"] == "3.0.3"
    validate(CONTRACT.document)


def test_so_it_is_where_nobody_is_asked_for_a_token() -> None:
    validate(OPEN.document)


@pytest.mark.parametrize("url", ["/openapi.json", "/openapi.yaml"])
@pytest.mark.parametrize("auth", ["none", "token"])
def test_it_is_served_with_its_names_as_it_is_applied(serve: Serve, sample_catalog: Path, auth: str, url: str) -> None:
    answer = serve(sample_catalog, auth=auth).get(url)
    assert answer.status_code == 200
    assert yaml.safe_load(answer.content) == (OPEN if auth == "none" else CONTRACT).document
    assert "#/components/schemas/Image" in answer.text


def test_the_yaml_is_served_to_the_byte_where_all_of_it_applies(serve: Serve, sample_catalog: Path) -> None:
    answer = serve(sample_catalog, auth="token").get("/openapi.yaml")
    assert answer.content == resource_path("openapi/compute-images.yaml").read_bytes()
    assert answer.headers["content-type"] == "application/yaml"


def test_text_of_several_lines_stays_so_in_the_yaml_that_is_made() -> None:
    assert b"\n  description: |\n    Lists, shows and changes the images of a catalog" in OPEN.yaml


def test_where_nobody_is_asked_for_a_token_the_contract_says_nothing_of_tokens() -> None:
    assert OPEN.document["security"] == []
    assert OPEN.document["components"]["securitySchemes"] == {}
    for word in (
        b"Unauthorized",
        b"unauthorized",
        b"ProjectMismatch",
        b"conflictingRequest",
        b"X-Auth-Token",
        b"x-requires-auth",
    ):
        assert word in CONTRACT.json
        assert word not in OPEN.json


def test_where_nobody_is_asked_for_a_token_all_else_is_the_same() -> None:
    assert OPEN.operations.keys() == CONTRACT.operations.keys()
    for name, operation in OPEN.operations.items():
        secured = CONTRACT.operations[name]
        assert operation.answers.keys() <= secured.answers.keys() <= operation.answers.keys() | {401, 403, 409}
        assert (operation.path.keys(), operation.query.keys()) == (secured.path.keys(), secured.query.keys())
    for kind, components in CONTRACT.document["components"].items():
        assert OPEN.document["components"][kind].items() <= components.items()


def test_swagger_ui_shows_the_served_document_and_asks_nobody_else(client: TestClient) -> None:
    references = re.findall(r'(?:src|href)="([^"]+)"', client.get("/ui/").text)
    assert [reference for reference in references if not reference.startswith("./")] == []
    parts = [client.get(f"/ui/{reference}") for reference in references]
    assert {part.status_code for part in parts} == {200}
    assert 'url: "../openapi.json"' in parts[-1].text


def test_swagger_ui_is_found_without_its_slash(client: TestClient) -> None:
    answer = client.get("/ui", headers={"Host": "evil.test"})
    assert (answer.status_code, answer.headers["location"]) == (307, "ui/")


def test_every_operation_has_its_function() -> None:
    for path, item in CONTRACT.document["paths"].items():
        for operation in item.values():
            taken = set(inspect.signature(resolve_operation(operation["operationId"])).parameters)
            assert set(re.findall(r"{(\w+)}", path)) == taken - {"body", "query"}
            assert ("requestBody" in operation) == ("body" in taken)


def test_every_path_can_be_read() -> None:  # or a read could go on to a path that is less exact (app/middleware.py)
    assert all("get" in item for item in CONTRACT.document["paths"].values())


OPEN_TO_ALL = {"listVersions", "showVersion", "showVersionOfRoot", "checkHealth"}


def test_every_operation_needs_a_token_for_the_project_that_its_path_names_unless_it_is_open_to_all() -> None:
    assert CONTRACT.document["security"] == [{"token": []}]
    for path, item in CONTRACT.document["paths"].items():
        for operation in item.values():
            if operation["operationId"] in OPEN_TO_ALL:
                assert operation["security"] == []
            else:
                assert "security" not in operation
                assert "{tenant_id}" in path
                assert {"401", "403"} <= operation["responses"].keys()


def test_every_parameter_of_the_list_reaches_the_catalog() -> None:
    query = CONTRACT.operations["listImagesDetails"].query
    assert {underscore(name) for name in query} == {each.name.rstrip("_") for each in fields(ImageFilters)}


@pytest.mark.parametrize("name", CONTRACT.document["components"]["parameters"])
def test_every_parameter_is_described_with_an_example_that_it_takes(name: str) -> None:
    definition = jsonschema_rs.dereference(CONTRACT.document)["components"]["parameters"][name]
    in_words = definition["schema"].get("enum") or re.findall(r"such as\s`([^`]+)`", definition["description"])
    examples = [definition["example"]] if definition.get("required") else in_words
    assert examples
    for example in examples:
        Parameter.of(definition).check(example)


def test_only_what_has_to_be_filled_in_is_filled_in_by_swagger_ui() -> None:
    for definition in CONTRACT.document["components"]["parameters"].values():
        assert ("example" in definition) == definition.get("required", False)


def examples() -> Iterator[Any]:
    for operation in operations(jsonschema_rs.dereference(CONTRACT.document)):
        for status, answer in operation["responses"].items():
            if "content" not in answer:
                continue
            content = answer["content"]["application/json"]
            named = content.get("examples") or {"example": {"value": content["example"]}}
            for name, example in named.items():
                yield pytest.param(operation["operationId"], int(status), example["value"], id=f"{status}-{name}")


@pytest.mark.parametrize(("operation", "status", "example"), list(examples()))
def test_every_example_is_what_its_schema_says(operation: str, status: int, example: Any) -> None:
    CONTRACT.operations[operation].check_answer(status, example)


@pytest.mark.parametrize(
    ("name", "file"),
    [("documented", "data/list-images-details.json"), ("failedReplication", "data/failed-replication.json")],
)
def test_the_documented_answers_are_the_named_examples(name: str, file: str) -> None:
    example = CONTRACT.document["components"]["examples"][name]["value"]
    assert example == orjson.loads(resource_path(file).read_bytes())


def test_the_fields_of_a_catalog_file_are_the_apis_and_three_more() -> None:
    schemas = yaml.safe_load(resource_path("openapi/catalog-file.yaml").read_bytes())
    fields_of_file = set(schemas["definitions"]["Image"]["properties"])
    fields_of_api = set(CONTRACT.document["components"]["schemas"]["Image"]["properties"])
    assert fields_of_file - fields_of_api == {"owner", "visibility", "members"}
    assert fields_of_api <= fields_of_file
    required = set(CONTRACT.document["components"]["schemas"]["Image"]["required"])
    assert set(schemas["definitions"]["Image"]["required"]) == required - {"links"}


def test_an_enum_of_the_document_is_what_the_service_takes(serve: Serve, sample_catalog: Path) -> None:
    contract = edited(r"enum: \[BASE, SERVER, ALL, snapshot, backup\]", "enum: [BASE, SERVER, ALL, fakery]")
    client = serve(sample_catalog, contract)
    assert client.get(f"{LIST}?type=fakery").json() == {"images": []}
    assert client.get(f"{LIST}?type=snapshot").json()["badRequest"]["message"] == (
        "Parameter 'type': 'snapshot' is not one of BASE, SERVER, ALL, fakery."
    )


def test_a_range_of_the_document_is_what_the_service_takes(serve: Serve, sample_catalog: Path) -> None:
    client = serve(
        sample_catalog,
        edited(r"(name: limit\n(?:.*\n)*? +)minimum: 0\n +maximum: 2147483647", r"\1minimum: 2\n        maximum: 9"),
    )
    assert client.get(f"{LIST}?limit=2").status_code == 200
    assert client.get(f"{LIST}?limit=10").json()["badRequest"]["message"] == (
        "Parameter 'limit': '10' is not a whole number from 2 to 9."
    )


def test_a_default_of_the_document_is_what_the_service_does(serve: Serve, sample_catalog: Path) -> None:
    client = serve(sample_catalog, edited("default: ALL", "default: SERVER"))
    assert client.get(LIST).json() == {"images": []}


def test_a_parameter_of_the_document_that_must_come_is_missed(serve: Serve, sample_catalog: Path) -> None:
    client = serve(
        sample_catalog, edited(r"name: marker\n      in: query", r"name: marker\n      in: query\n      required: true")
    )
    assert client.get(LIST).json()["badRequest"]["message"] == (
        "Parameter 'marker' is missing; it takes the id of an image that the project can see."
    )


def test_a_shape_of_the_document_is_what_the_service_answers(serve: Serve, sample_catalog: Path) -> None:
    client = serve(
        sample_catalog,
        edited(r"required: \[id, name, status, progress,", "required: [id, name, status, progress, server,"),
    )
    assert client.get(LIST).status_code == 500


@pytest.mark.parametrize("status", [204, 418])
def test_an_answer_that_the_document_does_not_have_is_broken(status: int) -> None:
    with pytest.raises(InvalidResponse, match=f"^the contract has no answer with status {status}$"):
        CONTRACT.operations["listImagesDetails"].check_answer(status, {})


def image(**changes: Any) -> dict[str, Any]:
    documented = CONTRACT.document["components"]["examples"]["documented"]["value"]["images"][0]
    return {name: value for name, value in (documented | changes).items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "complaint"),
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
def test_an_answer_is_checked_to_the_last_field(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidResponse) as raised:
        CONTRACT.operations["listImagesDetails"].check_answer(200, {"images": [image(**changes)]})
    assert str(raised.value).startswith(complaint)


def test_nullable_is_understood_beside_an_enum() -> None:
    validator = compile_schema({"type": "string", "nullable": True, "enum": ["a"]})
    assert [validator.is_valid(value) for value in ("a", None, "b", 1)] == [True, True, False, False]
