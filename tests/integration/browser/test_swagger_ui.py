"""Swagger UI in a real browser: each operation is listed, documented and can be executed."""

from typing import Any

import jsonschema_rs
import pytest

from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from app.contract.document import Contract
from tests.integration.browser.swagger_ui import Shown, SwaggerUI

pytestmark = pytest.mark.external

DOCUMENT = Contract.load(secured=False).document
RESOLVED = jsonschema_rs.dereference(DOCUMENT)
OPERATIONS = {each["operationId"]: each for item in RESOLVED["paths"].values() for each in item.values()}

IMAGE = "70a599e0-31e7-49b7-b260-868f441e862b"  # the image in the examples
METADATA = {"architecture": "x86_64", "auto_disk_config": "True", "kernel_id": "nokernel", "ramdisk_id": "nokernel"}


def example(response: dict[str, Any]) -> Any:
    content = response.get("content", {}).get("application/json", {})
    return next((each["value"] for each in content.get("examples", {}).values()), content.get("example"))


def console_error(ui: SwaggerUI, target: str, status: str) -> str:
    return f"Failed to load resource: the server responded with a status of {status} {ui.origin}{target}"


def test_operations_are_listed_by_tag_with_summary(ui: SwaggerUI) -> None:
    assert list(ui.operations().items()) == [
        (
            tag["name"],
            [
                (method.upper(), path, operation["summary"])
                for path, item in DOCUMENT["paths"].items()
                for method, operation in item.items()
                if operation["tags"] == [tag["name"]]
            ],
        )
        for tag in DOCUMENT["tags"]
    ]


def test_page_asks_for_no_token_without_authentication(ui: SwaggerUI) -> None:
    ui.open()
    assert ui.page.get_by_role("button", name="Authorize").count() == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_succeeds_with_default_inputs(ui: SwaggerUI, name: str) -> None:
    documented = [int(status) for status in OPERATIONS[name]["responses"] if status.startswith("2")]
    assert ui.try_out(name).status == documented[0]  # the second is 203, of a stale replica


def test_all_responses_are_shown_with_examples(ui: SwaggerUI) -> None:
    assert {name: ui.examples(name) for name in OPERATIONS} == {
        name: [Shown(int(status), example(response)) for status, response in operation["responses"].items()]
        for name, operation in OPERATIONS.items()
    }


def test_list_without_filter_returns_all_images(ui: SwaggerUI) -> None:
    documented = DOCUMENT["components"]["examples"]["documented"]["value"]
    assert ui.try_out("listImagesDetails") == (200, documented)


def test_filter_selects_images(ui: SwaggerUI) -> None:
    documented = DOCUMENT["components"]["examples"]["documented"]["value"]["images"]
    found = [image for image in documented if image["name"] == "fakeimage7"]
    assert ui.try_out("listImagesDetails", {"name": "fakeimage7"}) == (200, {"images": found})


@pytest.mark.parametrize("parameter", ["status", "type"])
def test_parameter_with_enum_is_a_selection_list(ui: SwaggerUI, parameter: str) -> None:
    (schema,) = (each["schema"] for each in OPERATIONS["listImages"]["parameters"] if each["name"] == parameter)
    assert ui.choices("listImages", parameter) == ["--", *schema["enum"]]


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (
            "changes-since",
            "2011-01-24T17:08:00",
            "an RFC 3339 date and time with a UTC offset, such as 2011-01-24T17:08:00Z, or a date",
        ),
        ("marker", "nowhere", "the id of an image that openstack can see"),
    ],
)
def test_invalid_value_is_rejected_with_what_is_accepted(
    ui: SwaggerUI, parameter: str, value: str, expected: str
) -> None:
    message = f"Parameter '{parameter}': '{value}' is not {expected}."
    fault = {"badRequest": {"code": 400, "message": message}}
    assert ui.try_out("listImagesDetails", {parameter: value}) == (400, fault)
    assert ui.errors.pop().startswith(console_error(ui, "/v2/openstack/images/detail?", "400 (Bad Request)"))


def test_image_is_shown_changed_and_deleted(ui: SwaggerUI) -> None:
    shown = ui.try_out("showImage").document["image"]
    assert (shown["id"], shown["metadata"]) == (IMAGE, METADATA)

    item = {"meta": {"os_distro": "debian"}}
    assert ui.try_out("setMetadataItem", {"key": "os_distro"}, item) == (200, item)
    assert ui.try_out("showImage").document["image"]["metadata"] == {**METADATA, "os_distro": "debian"}

    assert ui.try_out("deleteImage") == (204, None)
    assert ui.try_out("showImage") == (404, {"itemNotFound": {"code": 404, "message": "Image not found."}})
    assert ui.errors.pop() == console_error(ui, f"/v2/openstack/images/{IMAGE}", "404 (Not Found)")


def test_token_is_sent_after_authorization(guarded_ui: SwaggerUI) -> None:
    rejected = guarded_ui.try_out("listImages")
    assert (rejected.status, list(rejected.document)) == (401, ["unauthorized"])
    assert "401 (Unauthorized)" in guarded_ui.errors.pop()

    engine = open_catalog(guarded_ui.catalog)
    guarded_ui.token = add_token(engine, "openstack", is_admin=False, expires=None)
    assert guarded_ui.try_out("listImages").status == 200

    guarded_ui.token = add_token(engine, "1" * 32, is_admin=False, expires=None)
    assert guarded_ui.try_out("listImages").status == 403
    assert "403 (Forbidden)" in guarded_ui.errors.pop()


def test_content_security_policy_blocks_other_origins(ui: SwaggerUI) -> None:
    ui.open()
    directive = ui.page.evaluate(
        """() => new Promise(resolve => {
            document.addEventListener("securitypolicyviolation", event => resolve(event.effectiveDirective));
            fetch("https://validator.swagger.io/").catch(() => {});
        })"""
    )
    assert directive == "connect-src"
    assert ui.errors
    ui.errors.clear()
