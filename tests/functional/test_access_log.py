"""The access log: one line a request, whatever comes of it."""

import json
import re
from pathlib import Path

import pytest

from app.middleware.access_log import _plain
from tests.conftest import client_of

LIST = "/v2/openstack/images/detail"
IDENTITY = {"Accept-Encoding": "identity"}  # the bytes that are counted are those that come
REQUESTS = [
    ("GET", LIST, 200, "openstack"),
    ("GET", LIST, 200, "openstack"),  # kept
    ("HEAD", LIST, 200, "openstack"),
    ("HEAD", "/v2/openstack/images/x", 404, "openstack"),
    ("GET", f"{LIST}?name=a%20b", 200, "openstack"),
    ("GET", "/openstack/images/x", 404, "openstack"),
    ("POST", "/v2/776A2908-92b7-47c4-af8c-ec5d0e9b3a71/images", 405, "776A2908-92b7-47c4-af8c-ec5d0e9b3a71"),
    ("GET", "/v2/no%20tenant/images", 400, None),
    ("GET", "/v2", 200, None),
    ("GET", "/nowhere", 404, None),
]


@pytest.mark.parametrize("form", ["plain", "json"])
def test_each_request_has_its_line(sample_catalog: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    with client_of(sample_catalog, access_log=form) as client:  # when it has ended, all is written
        answers = [client.request(method, url, headers=IDENTITY) for method, url, *_ in REQUESTS]
    lines = capsys.readouterr().out.splitlines()
    for line, answer, (method, url, status, tenant) in zip(lines, answers, REQUESTS, strict=True):
        size, request_id = len(answer.content), answer.headers["x-compute-request-id"]
        if form == "json":
            entry = json.loads(line)
            assert entry.pop("milliseconds") >= 0
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.pop("time"))
            assert entry == {
                "method": method,
                "path": url,
                "status": status,
                "bytes": size,
                "tenant": tenant,
                "request_id": request_id,
            }
        else:
            said = f"{method} {url} {status} {size} {tenant or '-'} {request_id}"
            assert re.sub(r"^\S+ | \d+\.\d+(?= \S+ req-)", "", line) == said


def test_nothing_breaks_a_line() -> None:
    assert _plain({"path": "/a\nb\x1b\N{LINE SEPARATOR}", "tenant": None}) == r"/a\nb\x1b\u2028 -"


def test_there_is_none_unless_it_is_asked_for(sample_catalog: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with client_of(sample_catalog) as client:
        client.get(LIST)
    assert capsys.readouterr().out == ""
