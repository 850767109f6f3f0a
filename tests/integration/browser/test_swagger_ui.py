"""Swagger UI in a real browser: every operation is found, is described, and can be tried out."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.catalog.tokens import add_token
from app.contract.document import Contract
from tests.integration.browser.swagger_ui import Shown, SwaggerUI

DOCUMENT = Contract.load(secured=False).document
RESOLVED = jsonschema_rs.dereference(DOCUMENT)
OPERATIONS = {each["operationId"]: each for item in RESOLVED["paths"].values() for each in item.values()}

IMAGE = "70a599e0-31e7-49b7-b260-868f441e862b"  # the one that the examples name
METADATA = {"architecture": "x86_64", "auto_disk_config": "True", "kernel_id": "nokernel", "ramdisk_id": "nokernel"}


def example(answer: dict[str, Any]) -> Any:
    """Give the example of an answer, the first of several."""
    content = answer.get("content", {}).get("application/json", {})
    return next((each["value"] for each in content.get("examples", {}).values()), content.get("example"))


def failed(ui: SwaggerUI, target: str, status: str) -> str:
    """Say what the browser complains of when an answer is a fault."""
    return f"Failed to load resource: the server responded with a status of {status} {ui.origin}{target}"


def test_every_operation_is_found_by_its_summary_under_its_tag(ui: SwaggerUI) -> None:
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


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_succeeds_with_what_is_filled_in(ui: SwaggerUI, name: str) -> None:
    documented = [int(status) for status in OPERATIONS[name]["responses"] if status.startswith("2")]
    assert ui.try_out(name).status == documented[0]  # what follows is of a copy that got old


def test_every_answer_is_shown_with_its_example_the_faults_too(ui: SwaggerUI) -> None:
    assert {name: ui.examples(name) for name in OPERATIONS} == {
        name: [Shown(int(status), example(answer)) for status, answer in operation["responses"].items()]
        for name, operation in OPERATIONS.items()
    }


def test_all_images_are_listed_unless_a_filter_is_filled_in(ui: SwaggerUI) -> None:
    documented = DOCUMENT["components"]["examples"]["documented"]["value"]
    assert ui.try_out("listImagesDetails") == (200, documented)


def test_a_filter_finds_its_images(ui: SwaggerUI) -> None:
    documented = DOCUMENT["components"]["examples"]["documented"]["value"]["images"]
    found = [image for image in documented if image["name"] == "fakeimage7"]
    assert ui.try_out("listImagesDetails", {"name": "fakeimage7"}) == (200, {"images": found})


@pytest.mark.parametrize("parameter", ["status", "type"])
def test_what_is_one_of_some_is_chosen_and_so_never_wrong(ui: SwaggerUI, parameter: str) -> None:
    (schema,) = (each["schema"] for each in OPERATIONS["listImages"]["parameters"] if each["name"] == parameter)
    assert ui.choices("listImages", parameter) == ["--", *schema["enum"]]


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("changes-since", "2011-01-24", "an RFC 3339 date and time with a UTC offset, such as 2011-01-24T17:08:00Z"),
        ("marker", "nowhere", "the id of an image that openstack can see"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_right(ui: SwaggerUI, parameter: str, value: str, expected: str) -> None:
    message = f"Parameter '{parameter}': '{value}' is not {expected}."
    fault = {"badRequest": {"code": 400, "message": message}}
    assert ui.try_out("listImagesDetails", {parameter: value}) == (400, fault)
    assert ui.complaints.pop().startswith(failed(ui, "/v2/openstack/images/detail?", "400 (Bad Request)"))


def test_an_image_is_shown_changed_and_deleted(ui: SwaggerUI) -> None:
    shown = ui.try_out("showImage").document["image"]
    assert (shown["id"], shown["metadata"]) == (IMAGE, METADATA)

    item = {"meta": {"os_distro": "debian"}}
    assert ui.try_out("setMetadataItem", {"key": "os_distro"}, item) == (200, item)
    assert ui.try_out("showImage").document["image"]["metadata"] == {**METADATA, "os_distro": "debian"}

    assert ui.try_out("deleteImage") == (204, None)
    assert ui.try_out("showImage") == (404, {"itemNotFound": {"code": 404, "message": "Image not found."}})
    assert ui.complaints.pop() == failed(ui, f"/v2/openstack/images/{IMAGE}", "404 (Not Found)")


def test_a_token_is_asked_for_and_sent_where_the_service_needs_one(guarded_ui: SwaggerUI, tmp_path: Path) -> None:
    refused = guarded_ui.try_out("listImages")
    assert (refused.status, list(refused.document)) == (401, ["unauthorized"])
    assert "401 (Unauthorized)" in guarded_ui.complaints.pop()

    catalog = tmp_path / "data" / "catalog.db"
    guarded_ui.token = add_token(catalog, "openstack", is_admin=False, expires=None)
    assert guarded_ui.try_out("listImages").status == 200

    guarded_ui.token = add_token(catalog, "1" * 32, is_admin=False, expires=None)
    assert guarded_ui.try_out("listImages").status == 403
    assert "403 (Forbidden)" in guarded_ui.complaints.pop()


def test_the_browser_itself_lets_the_page_ask_nobody_else(ui: SwaggerUI) -> None:
    ui.open()
    refused = ui.page.evaluate(
        """() => new Promise(tell => {
            document.addEventListener("securitypolicyviolation", event => tell(event.effectiveDirective));
            fetch("https://validator.swagger.io/").catch(() => {});
        })"""
    )
    assert refused == "connect-src"
    assert ui.complaints
    ui.complaints.clear()
