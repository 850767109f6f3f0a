"""The package compute_images_testing: the service that it starts, and how that ends."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from app.testing import ComputeImages, ServiceError
from tests.integration.server.service import until
from tests.integration.server.test_aborted_run import accepts_connections

PATH = "/v2/demo/images"
PARENT = """
import time
from compute_images_testing import ComputeImages
with ComputeImages() as compute_images:
    print(compute_images.url, flush=True)
    time.sleep(60)
"""


def fetch(
    service: ComputeImages, path: str = PATH, method: str = "GET", body: str | None = None, token: str = ""
) -> HTTPResponse:
    with closing(HTTPConnection(service.url.removeprefix("http://"), timeout=20)) as connection:
        connection.request(method, path, body, {"X-Auth-Token": token, "Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
    return response


def test_each_test_begins_with_an_empty_catalog_part_one(compute_images: ComputeImages) -> None:
    change_everything(compute_images)


def test_each_test_begins_with_an_empty_catalog_part_two(compute_images: ComputeImages) -> None:
    assert compute_images.requests == []
    assert compute_images.clock.now() < datetime.now(UTC) + timedelta(minutes=1)
    assert fetch(compute_images).headers["content-length"] == str(len('{"images":[]}'))
    change_everything(compute_images)


def change_everything(compute_images: ComputeImages) -> None:
    compute_images.images.add()
    compute_images.tokens.add("demo")
    compute_images.clock.advance(3600)
    compute_images.fail("listImages", 500, times=9)
    assert fetch(compute_images).status == 500


def test_requests_are_as_they_were_sent(compute_images: ComputeImages) -> None:
    image = compute_images.images.add()
    body = json.dumps({"metadata": {"a": "1"}})
    fetch(compute_images, f"{PATH}/detail?name=a%20b&limit=", "HEAD", token="t")  # noqa: S106 no secret
    fetch(compute_images, f"{PATH}/{image['id']}/metadata", "POST", body)
    first, second = compute_images.requests
    assert (first.method, first.path, first.query) == ("HEAD", f"{PATH}/detail", {"name": "a b", "limit": ""})
    assert (first.operation, first.status, first.body) == ("listImagesDetails", 400, "")
    assert first.headers["x-auth-token"] == "t"
    assert (second.operation, second.status, second.body) == ("updateMetadata", 200, body)


def test_request_can_be_late_or_dropped(compute_images: ComputeImages) -> None:
    compute_images.fail("listImages", None, delay=0.2)
    begin = time.monotonic()
    assert fetch(compute_images).status == 200
    assert time.monotonic() - begin >= 0.2
    compute_images.fail("updateMetadata", drop=True)
    with pytest.raises(RemoteDisconnected):
        fetch(compute_images, f"{PATH}/x/metadata", "POST", "{}")
    assert [(each.status, each.body) for each in compute_images.requests] == [(200, ""), (None, "{}")]
    assert "ERROR" not in compute_images.log


@pytest.mark.parametrize(
    "expires", [timedelta(hours=1), "2030-01-01T02:00:00+01:00", datetime(2030, 1, 1, 1, tzinfo=UTC)]
)
def test_token_expires_at_a_time_or_after_a_duration(
    compute_images: ComputeImages, expires: datetime | timedelta | str
) -> None:
    compute_images.clock.set("2030-01-01T00:00:00Z")
    token = compute_images.tokens.add("demo", expires=expires)
    compute_images.clock.advance(timedelta(minutes=59))
    assert fetch(compute_images, token=token).status == 200
    compute_images.clock.advance(60)
    assert fetch(compute_images, token=token).status == 401


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda service: service.fail("listImage"), "'listImage' is not one of checkHealth, "),
        (lambda service: service.fail("listImages", 200), "200 is less than the minimum of 400"),
        (lambda service: service.images.add(status="x"), 'status: "x" is not one of ACTIVE, '),
        (lambda service: service.clock.set("2030-01-01T00:00:00"), "2030-01-01 00:00:00 has no UTC offset"),
    ],
)
def test_invalid_value_is_an_error_that_says_what_is_accepted(
    compute_images: ComputeImages, call: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(compute_images)


IMAGE = {"id": "00000000-0000-4000-8000-000000000001", "OS-DCF:diskConfig": "AUTO"}
TIME = "2030-01-01T00:00:00Z"
GLANCE = {"id": IMAGE["id"], "created_at": TIME, "updated_at": TIME, "status": "queued", "visibility": "public"}


@pytest.mark.parametrize(
    "document", [{"images": [IMAGE]}, [{"images": [IMAGE]}], {"image": IMAGE}, [IMAGE], IMAGE, GLANCE]
)
def test_image_file_of_each_form_is_loaded(compute_images: ComputeImages, tmp_path: Path, document: Any) -> None:
    (tmp_path / "image.json").write_text(json.dumps(document))
    compute_images.images.load(tmp_path / "image.json")
    assert fetch(compute_images, f"{PATH}/{IMAGE['id']}").status == 200


@pytest.mark.parametrize("text", ["{}", '["a"]', "x", '{"images": [1]}'])
def test_file_without_images_is_an_error(compute_images: ComputeImages, tmp_path: Path, text: str) -> None:
    (tmp_path / "image.json").write_text(text)
    with pytest.raises(ValueError, match=r"contains no images; accepted are |Expecting value|images\[0\]: 1 is not"):
        compute_images.images.load(tmp_path / "image.json")


def test_image_file_is_loaded_in_its_order(compute_images: ComputeImages, tmp_path: Path) -> None:
    images = [{"id": f"00000000-0000-4000-8000-{number:012}"} for number in reversed(range(401))]
    (tmp_path / "images.json").write_text(json.dumps({"images": images}))
    compute_images.images.load(tmp_path / "images.json")
    with urlopen(f"{compute_images.url}{PATH}") as response:  # noqa: S310 http
        assert [each["id"] for each in json.load(response)["images"]] == [each["id"] for each in images]


def test_settings_and_modules_of_the_tests_do_not_affect_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit('the app of the tool')")
    monkeypatch.chdir(tmp_path)
    for name, value in {"PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "error", "IMAGES_AUTH": "keystone"}.items():
        monkeypatch.setenv(name, value)
    with ComputeImages() as service:
        assert fetch(service).status == 200
    with pytest.raises(ConnectionRefusedError):
        fetch(service)


def test_service_that_has_ended_is_an_error() -> None:
    with ComputeImages() as service:
        service._process._process.kill()
        service._process._process.wait()
        with pytest.raises(ServiceError, match="The service does not respond: ConnectionRefusedError"):
            service.reset()


def test_service_that_cannot_start_is_an_error_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "connexion.py").write_text("raise RuntimeError('broken installation')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"(?s)did not start.*broken installation"), ComputeImages():
        pass


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_service_ends_with_its_parent_however_that_ends(tmp_path: Path, sent: signal.Signals) -> None:
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout
        port = int(parent.stdout.readline().rpartition(b":")[2])
        assert accepts_connections(port)
        parent.send_signal(sent)
    until(lambda: not accepts_connections(port) and not list(tmp_path.iterdir()))
