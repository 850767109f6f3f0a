"""Faults: every error, on every path, is one Compute fault; and those of our own tell nothing but to the log."""

import logging
import re
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from app.api import images
from app.contract.document import Contract
from app.errors import (
    CatalogBusy,
    CatalogReadOnly,
    CatalogUnavailable,
    ImageNotFound,
    InvalidBody,
    InvalidHost,
    InvalidParameter,
    InvalidResponse,
    MetadataItemNotFound,
    MetadataQuotaExceeded,
    NotImageOwner,
    RequestBodyTooLarge,
    UnsupportedMediaType,
)
from app.framework.faults import Fault, fault_for
from app.text import quote
from tests.conftest import Serve

LIST = "/v2/openstack/images/detail"
SHOW = "/v2/openstack/images/nothing"

OURS = "The service failed to answer; its log tells why under this request's id."
READ_ONLY = "The catalog is served for reading alone: whoever runs the service changes it."
CATALOG = "The catalog of images cannot be reached at the moment; try again later."


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (InvalidParameter("limit", ": 'x' is wrong"), Fault(400, "Parameter 'limit': 'x' is wrong.")),
        (InvalidHost("a b"), Fault(400, "Header 'Host': 'a b' is not a host, with or without a port.")),
        (InvalidBody("metadata: it is wrong"), Fault(400, "The body is wrong: metadata: it is wrong.")),
        (NotImageOwner("x"), Fault(403, "Image 'x' does not belong to the project.")),
        (MetadataQuotaExceeded(129, 128), Fault(403, "The image would have 129 items of metadata; it may have 128.")),
        (ImageNotFound(), Fault(404, "Image not found.")),
        (MetadataItemNotFound("k"), Fault(404, "The image's metadata have no item 'k'.")),
        (UnsupportedMediaType("A", "b", "c"), Fault(415, "Header 'A': 'b' is not c.")),
        (
            CatalogReadOnly("/secret/path: read-only"),
            Fault(403, "The catalog is served for reading alone: whoever runs the service changes it."),
        ),
        (CatalogBusy(), Fault(503, "The catalog is being changed by others; try again later.")),
        (RequestBodyTooLarge(9), Fault(413, "The body is longer than 9 bytes.")),
        (CatalogUnavailable("/secret/path: disk on fire"), Fault(503, CATALOG)),
        (InvalidResponse("'secret' is no status"), Fault(500, OURS)),
        (ZeroDivisionError("secret"), Fault(500, OURS)),
        (HTTPException(500, "secret"), Fault(500, OURS)),
        (HTTPException(404, "secret"), Fault(404, "There is nothing at '/a\\nb'.")),
        (HTTPException(415, "Only JSON is taken."), Fault(415, "Only JSON is taken.")),
        (
            HTTPException(405, headers={"Allow": "GET"}),
            Fault(405, "'/a\\nb' does not take PUT; it takes GET, POST.", {"Allow": "GET, POST"}),
        ),
    ],
)
def test_each_error_has_its_fault(error: Exception, fault: Fault) -> None:
    allowed = ["GET", "POST"] if fault.status == 405 else []
    assert fault_for(error, method="PUT", path="/a\nb", allowed=allowed) == fault


def test_what_came_is_quoted_in_one_line_and_cut() -> None:
    assert quote("a\n\x00\N{LINE SEPARATOR}") == r"'a\n\x00\u2028'"
    assert quote("x" * 101) == f"'{'x' * 100}…'"


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "//v2/openstack/images/detail",
        "///v2/openstack/images/detail",
        "/v2//openstack/images/detail",
        "/v2/openstack//images/detail",
        "/v2/openstack/images/detail/",
        "/healthcheck/",
        "/v2/openstack/images/detail//",
        "/v2/openstack/images/detail/x",
        "/V2/openstack/images/detail",
        "/openapi.yaml/",
        "/ui/nothing",
        "/ui//",
    ],
)
def test_an_unknown_path_is_not_found_and_never_a_redirect(client: TestClient, path: str) -> None:
    answer = client.get(f"http://compute.test{path}")
    assert answer.json() == {"itemNotFound": {"code": 404, "message": f"There is nothing at '{path}'."}}
    assert answer.status_code == 404
    assert "location" not in answer.headers


def test_an_unknown_path_is_not_found_whatever_the_method(client: TestClient) -> None:
    assert client.post("/nowhere").status_code == 404


def test_an_encoded_slash_is_a_slash(client: TestClient) -> None:
    assert client.get(LIST.replace("/images", "%2Fimages")).json() == client.get(LIST).json()


@pytest.mark.parametrize(
    "path", ["/v2/openstack/images", "/v2/no-tenant/images", LIST, "/", "/openapi.yaml", "/ui", "/ui/"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MADEUP"])
def test_a_method_that_a_path_does_not_take_is_named_with_those_that_it_takes(
    client: TestClient, path: str, method: str
) -> None:
    answer = client.request(method, path)
    message = f"'{path}' does not take {method}; it takes GET, HEAD."
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json() == {"badMethod": {"code": 405, "message": message}}


@pytest.mark.parametrize(("path", "status"), [(LIST, 200), (f"{LIST}?limit=x", 400), ("/nowhere", 404)])
def test_head_is_get_without_a_body(client: TestClient, path: str, status: int) -> None:
    got, head = client.get(path), client.head(path)
    assert (got.status_code, head.status_code) == (status, status)
    for name in ("x-compute-request-id", "x-openstack-request-id"):
        assert got.headers.pop(name) != head.headers.pop(name)
    assert head.headers == got.headers


@pytest.mark.parametrize("path", [LIST, f"{LIST}?limit=x", "/nowhere", "/openapi.json", "/ui/", "//v2"])
def test_every_answer_has_a_request_id_of_its_own(client: TestClient, path: str) -> None:
    answers = [client.get(f"http://compute.test{path}").headers for _ in range(2)]
    first, second = (headers["x-compute-request-id"] for headers in answers)
    assert [headers["x-openstack-request-id"] for headers in answers] == [first, second]
    assert re.fullmatch("req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first)
    assert first != second


@pytest.mark.parametrize("content_type", [";;;", "a", "application/json; charset=nonsense", "/", ""])
def test_the_content_type_of_a_get_says_nothing(client: TestClient, content_type: str) -> None:
    assert client.get(LIST, headers={"Content-Type": content_type}).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_get_that_announces_a_body_or_another_protocol_is_answered_all_the_same(
    client: TestClient, method: str
) -> None:
    headers = {"Content-Length": "5", "Connection": "Upgrade", "Upgrade": "websocket"}
    assert client.request(method, LIST, headers=headers).status_code == 200


def test_an_unexpected_error_is_told_to_the_log_alone(
    serve: Serve, sample_catalog: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(tenant_id: str, **query: str) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(images, "list_images_details", broken)
    answer = serve(sample_catalog).get(LIST)
    assert (answer.status_code, answer.json()) == (500, {"computeFault": {"code": 500, "message": OURS}})
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.getMessage() == f"{answer.headers['x-compute-request-id']} GET '{LIST}': secret"
    assert record.exc_info
    assert str(record.exc_info[1]) == "secret"


def test_a_catalog_that_goes_away_is_unavailable(
    serve: Serve, tmp_path: Path, sample_catalog: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(sample_catalog.read_bytes())
    client = serve(path)
    assert client.get(LIST).status_code == 200
    path.unlink()
    answer = client.get(LIST)
    assert (answer.status_code, answer.json()) == (503, {"serviceUnavailable": {"code": 503, "message": CATALOG}})
    assert f"{path}" in caplog.text


def test_a_catalog_that_another_file_took_the_place_of_is_unavailable(
    serve: Serve, tmp_path: Path, sample_catalog: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = tmp_path / "catalog.db", tmp_path / "other.db"
    path.write_bytes(sample_catalog.read_bytes())
    other.write_bytes(sample_catalog.read_bytes())
    client = serve(path)
    other.replace(path)
    assert client.get(LIST).status_code == 503
    assert f"another file took the place of {path}: restart the service" in caplog.text


def test_a_client_error_is_not_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    client.get(f"{LIST}?limit=x")
    client.get("/nowhere")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [("GET", f"{SHOW}?limit=x", 400), ("GET", SHOW, 404), ("PUT", SHOW, 405)],
)
def test_a_fault_is_what_the_contract_says(client: TestClient, method: str, url: str, status: int) -> None:
    answer = client.request(method, url)
    operation = Contract.load(secured=False).operations["showImage"]
    operation.check_answer(status, answer.json())
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"


def test_every_status_that_the_contract_declares_has_a_name() -> None:
    names = {
        400: "badRequest",
        403: "forbidden",
        404: "itemNotFound",
        405: "badMethod",
        413: "overLimit",
        415: "badMediaType",
        500: "computeFault",
        503: "serviceUnavailable",
    }
    for status, name in names.items():
        assert (
            Contract.load(secured=False).fault(status, "why")
            == f'{{"{name}":{{"code":{status},"message":"why"}}}}'.encode()
        )
    assert Contract.load(secured=False).fault(418, "why") == b'{"computeFault":{"code":418,"message":"why"}}'


def test_all_methods_of_a_path_are_named(client: TestClient) -> None:
    answer = client.patch("/v2/openstack/images/x/metadata")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST, PUT")
