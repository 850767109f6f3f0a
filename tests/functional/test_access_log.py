"""The access log: one line for each request, in both formats."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app.logs import FORMATS
from tests.conftest import client_of
from tests.support.projects import LIST_URL

DASHED_PROJECT = "776A2908-92b7-47c4-af8c-ec5d0e9b3a71"
GLOBAL_ID = "req-0123abcd-0123-abcd-ef01-0123456789ab"
IDENTITY = {"Accept-Encoding": "identity"}  # so that the client receives the logged number of bytes
REQUESTS = [
    ("GET", LIST_URL, 200, "openstack"),
    ("GET", LIST_URL, 200, "openstack"),  # from the cache
    ("HEAD", LIST_URL, 200, "openstack"),
    ("HEAD", "/v2/openstack/images/x", 404, "openstack"),
    ("GET", f"{LIST_URL}?name=a%20b", 200, "openstack"),
    ("GET", "/openstack/images/x", 404, "openstack"),
    ("POST", f"/v2/{DASHED_PROJECT}/images", 405, DASHED_PROJECT),
    ("GET", "/v2/my%20project/images", 200, "my project"),
    ("GET", "/v2/no%0aproject/images", 400, None),
    ("GET", "/v2", 200, None),
    ("GET", "/nowhere", 404, None),
]


@pytest.mark.parametrize("to_file", [False, True], ids=["output", "file"])
@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_each_request_is_logged(
    sample_catalog: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], log_format: str, to_file: bool
) -> None:
    file = tmp_path / "access.log"
    destination: dict[str, Any] = {"access_log_file": str(file)} if to_file else {"access_log": "on"}
    headers = IDENTITY | {"X-OpenStack-Request-ID": GLOBAL_ID}
    with client_of(sample_catalog, log_format=log_format, **destination) as client:
        responses = [client.request(method, url, headers=headers) for method, url, *_ in REQUESTS]
    output = capsys.readouterr().out
    lines = (file.read_text() if to_file else output).splitlines()
    assert not (to_file and output)
    for line, response, (method, url, status, project_id) in zip(lines, responses, REQUESTS, strict=True):
        size, request_id = len(response.content), response.headers["x-compute-request-id"]
        project = re.escape(quote(project_id or "-", safe=""))
        pattern = rf"{method} {re.escape(url)} {status} {size} (?P<milliseconds>\d+\.\d+) {project} testclient -"
        if log_format == "plain":
            ids = f"{request_id} {GLOBAL_ID}"
            assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO app\.access {ids} {pattern}", line)
            continue
        entry = json.loads(line)
        message = re.fullmatch(pattern, entry.pop("message"))
        assert message
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.pop("time"))
        assert entry == {
            "level": "INFO",
            "logger": "app.access",
            "request_id": request_id,
            "global_request_id": GLOBAL_ID,
            "exception": None,
            "method": method,
            "path": url,
            "status": status,
            "bytes": size,
            "milliseconds": float(message["milliseconds"]),
            "project_id": project_id,
            "client": "testclient",
            "forwarded_for": None,
        }


def test_plain_format_escapes_control_characters() -> None:
    entry = {
        "time": "T",
        "level": "INFO",
        "logger": "a",
        "request_id": "-",
        "global_request_id": None,
        "exception": None,
    }
    line = FORMATS["plain"](entry | {"message": "/a\nb\x1b\N{LINE SEPARATOR}"})
    assert line == r"T INFO a - /a\nb\x1b\u2028"


def test_nothing_is_logged_by_default(sample_catalog: str, capsys: pytest.CaptureFixture[str]) -> None:
    with client_of(sample_catalog) as client:
        client.get(LIST_URL)
    assert capsys.readouterr().out == ""
