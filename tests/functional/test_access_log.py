"""The access log: one line for each request, in both formats."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from app.logs import FORMATS
from tests.conftest import client_of
from tests.support.projects import LIST_URL

DASHED_PROJECT = "776A2908-92b7-47c4-af8c-ec5d0e9b3a71"
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


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_each_request_is_logged(sample_catalog: Path, capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    with client_of(sample_catalog, access_log="on", log_format=log_format) as client:
        responses = [client.request(method, url, headers=IDENTITY) for method, url, *_ in REQUESTS]
    lines = capsys.readouterr().out.splitlines()
    for line, response, (method, url, status, project_id) in zip(lines, responses, REQUESTS, strict=True):
        size, request_id = len(response.content), response.headers["x-compute-request-id"]
        project = re.escape(quote(project_id or "-", safe=""))
        pattern = rf"{method} {re.escape(url)} {status} {size} (?P<milliseconds>\d+\.\d+) {project}"
        if log_format == "plain":
            assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO app\.access {request_id} {pattern}", line)
            continue
        entry = json.loads(line)
        message = re.fullmatch(pattern, entry.pop("message"))
        assert message
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.pop("time"))
        assert entry == {
            "level": "INFO",
            "logger": "app.access",
            "request_id": request_id,
            "exception": None,
            "method": method,
            "path": url,
            "status": status,
            "bytes": size,
            "milliseconds": float(message["milliseconds"]),
            "project_id": project_id,
        }


def test_plain_format_escapes_control_characters() -> None:
    entry = {"time": "T", "level": "INFO", "logger": "app.access", "request_id": "-", "exception": None}
    line = FORMATS["plain"](entry | {"message": "/a\nb\x1b\N{LINE SEPARATOR}"})
    assert line == r"T INFO app.access - /a\nb\x1b\u2028"


def test_nothing_is_logged_by_default(sample_catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with client_of(sample_catalog) as client:
        client.get(LIST_URL)
    assert capsys.readouterr().out == ""
