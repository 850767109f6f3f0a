"""The package compute_images_testing: the service that it starts, and how that ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.request import build_opener, urlopen

import pytest

from app import testing
from app.testing import ComputeImages, ServiceError
from tests.integration.server.service import until
from tests.integration.server.test_aborted_run import accepts_connections

PATH = "/v2/demo/images"
NO_TIME = "is not a time; expected a datetime with a UTC offset, text such as '2030-01-31T00:00:00Z', or a timedelta"
NO_DURATION = "is not a duration; expected a timedelta, or a number of seconds"
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
    fetch(compute_images, f"{PATH}/detail?name=a%20b&limit=&name=c", "HEAD", token="t")  # noqa: S106 no secret
    fetch(compute_images, f"{PATH}/{image['id']}/metadata", "POST", body)
    first, second = compute_images.requests
    assert (first.method, first.path, first.query) == ("HEAD", f"{PATH}/detail", {"name": ["a b", "c"], "limit": [""]})
    assert (first.operation, first.status, first.body) == ("listImagesDetails", 400, "")
    assert first.headers["X-Auth-Token"] == first.headers["x-auth-token"] == "t"
    assert ("content-TYPE" in first.headers, "Cookie" in first.headers) == (True, False)
    assert (second.operation, second.status, second.body) == ("updateMetadata", 200, body)


def test_request_can_be_late_or_dropped(compute_images: ComputeImages) -> None:
    compute_images.fail("listImages", None, delay=timedelta(seconds=0.2))
    begin = time.monotonic()
    assert fetch(compute_images).status == 200
    assert time.monotonic() - begin >= 0.2
    compute_images.fail("updateMetadata", drop=True)
    with pytest.raises(RemoteDisconnected):
        fetch(compute_images, f"{PATH}/x/metadata", "POST", "{}")
    assert [(each.status, each.body) for each in compute_images.requests] == [(200, ""), (None, "{}")]
    assert "ERROR" not in compute_images.log


@pytest.mark.parametrize("gives_up", [True, False], ids=["client disconnects", "reset"])
def test_delayed_request_that_nobody_waits_for_changes_nothing(compute_images: ComputeImages, gives_up: bool) -> None:
    image = compute_images.images.add()
    path = f"{PATH}/{image['id']}"
    compute_images.fail("deleteImage", None, delay=0.5)
    with closing(open_request(compute_images, "DELETE", path)) as connection:
        if not gives_up:
            compute_images.reset()
            with pytest.raises(RemoteDisconnected):
                connection.getresponse()
            assert compute_images.images.add()["id"] == image["id"]
    compute_images.fail("showImage", None, delay=0.7)  # longer than the delay of the first request
    assert fetch(compute_images, path).status == 200


def test_delayed_request_with_a_body_is_complete(compute_images: ComputeImages) -> None:
    image = compute_images.images.add()
    compute_images.fail("updateMetadata", None, delay=0.1)
    assert fetch(compute_images, f"{PATH}/{image['id']}/metadata", "POST", '{"metadata": {"a": "1"}}').status == 200
    assert compute_images.requests[-1].body == '{"metadata": {"a": "1"}}'


def test_request_that_is_delayed_at_the_end_has_no_response() -> None:
    with ComputeImages() as service:
        service.fail("listImages", None, delay=60)
        connection = open_request(service)
    with closing(connection), pytest.raises(RemoteDisconnected):
        connection.getresponse()


def open_request(service: ComputeImages, method: str = "GET", path: str = PATH) -> HTTPConnection:
    """Send a request, and return its connection when the service has received the request."""
    connection = HTTPConnection(service.url.removeprefix("http://"), timeout=20)
    connection.request(method, path)
    until(lambda: bool(service.requests))
    return connection


@pytest.mark.parametrize(
    "expires", [timedelta(hours=1), 3600, "2030-01-01T02:00:00+01:00", datetime(2030, 1, 1, 1, tzinfo=UTC)]
)
def test_token_expires_at_a_time_or_after_a_duration(
    compute_images: ComputeImages, expires: datetime | timedelta | str | float
) -> None:
    compute_images.clock.set("2030-01-01T00:00:00Z")
    assert compute_images.images.add(created=0, updated=expires)["updated"] == "2030-01-01T01:00:00Z"
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
        (lambda service: service.clock.set("2030-01-01T00:00:00"), f"'2030-01-01T00:00:00' {NO_TIME}"),
        (lambda service: service.tokens.add("demo", expires=datetime(2030, 1, 1)), rf"datetime.* {NO_TIME}"),  # noqa: DTZ001
        (lambda service: service.images.add(created=date(2030, 1, 1)), rf"datetime.date\(2030, 1, 1\) {NO_TIME}"),
        (lambda service: service.clock.set(1e20), rf"1e\+20 {NO_TIME}"),
        (lambda service: service.fail("listImages", delay="1s"), f"'1s' {NO_DURATION}"),
        (lambda service: service.clock.advance(float("nan")), f"nan {NO_DURATION}"),
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
        port = service._running.port
    assert not accepts_connections(port)


@pytest.mark.parametrize("argument", [[], [sys.executable]], ids=["COMPUTE_IMAGES_PYTHON", "argument"])
def test_service_can_run_in_another_environment_than_the_tests(tmp_path: Path, argument: list[str]) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit('the app of the tool')")
    (tmp_path / "compute_images_testing").symlink_to(Path(testing.__path__[0]))
    script = "import sys; from compute_images_testing import *\nwith ComputeImages(*sys.argv[1:]) as it: it.reset()"
    variables = {"COMPUTE_IMAGES_PYTHON": "/missing" if argument else sys.executable, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-S", "-c", script, *argument]  # without site-packages: it has the standard library only
    subprocess.run(command, env=os.environ | variables, check=True)


def test_interpreter_of_the_service_is_an_option_of_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_tool.py").write_text("def test(compute_images): pass")
    command = [sys.executable, "-m", "pytest", "-o", "compute_images_python=/missing", str(tmp_path)]
    output = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=False).stdout.decode()
    assert "ServiceError: compute-images did not start: /missing: No such file or directory" in output


def test_service_of_the_fixture_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, compute_images: ComputeImages
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert build_opener().open(f"{compute_images.url}{PATH}").status == 200


@pytest.mark.parametrize(
    "use", [lambda service: service.url, lambda service: service.images.add(), lambda service: service.log]
)
def test_service_that_does_not_run_is_an_error(use: Callable[[ComputeImages], Any]) -> None:
    with pytest.raises(ServiceError, match="The service does not run: use ComputeImages in a with block"):
        use(ComputeImages())


def test_service_that_has_ended_is_an_error() -> None:
    with ComputeImages() as service:
        service._running._process.kill()
        service._running._process.wait()
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
