"""Generated clients: complete, typed and compatible with the running service."""

import re
from functools import partial
from typing import Any

import jsonschema_rs
import pytest

from app.contract.document import Contract
from tests.integration.generated.conftest import NPM, OWN, PYPI, SAMPLE, SETTINGS, Generated, Result
from tests.support.npm import modules
from tests.support.packages import environment

pytestmark = pytest.mark.external(install=[partial(environment, *PYPI), partial(modules, *NPM)])

OPERATIONS = [
    operation
    for item in jsonschema_rs.dereference(Contract.load(secured=False).document)["paths"].values()
    for operation in item.values()
]


def expected(operation: dict[str, Any]) -> Any:
    """Return the first example of a success, or the status of a success without a document."""
    status, response = next(iter(operation["responses"].items()))
    content = response.get("content", {}).get("application/json", {})
    examples = [*(each["value"] for each in content.get("examples", {}).values()), content.get("example", int(status))]
    return examples[0]["status"] if "Health" in operation["tags"] else examples[0]


def test_readme_command_generates_client_without_warnings(generated: Generated) -> None:
    output = generated.result.stdout + generated.result.stderr
    assert generated.result.returncode == 0, output
    output = output.replace("WARN  o.o.codegen.utils.ModelUtils - Failed to get the schema name: null", "")  # always
    assert re.findall(r"^.*(?:warn|error|invalid).*$", output, flags=re.MULTILINE | re.IGNORECASE) == []


def test_client_and_program_pass_strict_type_check(checked: Result) -> None:
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation["operationId"])
def test_operation_gets_the_example_response(results: Any, operation: dict[str, Any]) -> None:
    assert results[operation["operationId"]] == expected(operation)


def test_filters_select_an_image_with_all_fields(results: Any) -> None:
    (found,) = results["filtered"]["images"]
    url = SETTINGS["IMAGES_COMPUTE_URL"]
    server = {"rel": "bookmark", "href": f"{url}/{OWN['owner']}/servers/a-server"}
    assert found["server"]["links"][1] == server
    assert {name: found[name] for name in OWN.keys() & found.keys()} == {
        name: value for name, value in OWN.items() if name not in {"owner", "visibility"}
    }


def test_fault_is_of_the_documented_type(results: Any) -> None:
    assert results["fault"] == {"itemNotFound": {"code": 404, "message": "Image not found."}}


def test_program_in_readme_lists_the_image(listed: list[str]) -> None:
    assert set(listed) <= {"{id} {name} {status}\n".format_map(SAMPLE[0])}
