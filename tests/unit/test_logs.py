"""The service log: one format for all lines, with the id of the request that a line belongs to."""

import json
import logging
import re
import subprocess
import sys

import pytest

from app.context import RequestContext, current_request
from app.logs import LogFormatter, RequestIdFilter

TIME = "2026-01-01T00:00:00Z"


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, None) if error else None
    made = logging.LogRecord("app.test", logging.ERROR, "test.py", 1, message, None, exc_info)
    made.created = 1767225600.9
    RequestIdFilter().filter(made)
    return made


@pytest.mark.parametrize(
    ("message", "error", "line"),
    [
        ("it failed", None, f"{TIME} ERROR app.test - it failed"),
        ("a\nb\x1b", None, f"{TIME} ERROR app.test - a\\nb\\x1b"),
        ("it failed", ValueError("why"), f"{TIME} ERROR app.test - it failed\nValueError: why"),
    ],
    ids=["message", "control characters", "exception"],
)
def test_plain_format_is_one_line_and_a_traceback(message: str, error: Exception | None, line: str) -> None:
    assert LogFormatter("plain").format(record(message, error)) == line


@pytest.mark.parametrize("error", [None, ValueError("why")], ids=str)
@pytest.mark.parametrize("message", ["it failed", "a\nb\x1b", "lone \ud800"])
def test_json_format_is_one_object_on_a_line(message: str, error: Exception | None) -> None:
    line = LogFormatter("json").format(record(message, error))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": TIME,
        "level": "ERROR",
        "logger": "app.test",
        "request_id": "-",
        "message": message.encode(errors="backslashreplace").decode(),
        "exception": error and "ValueError: why",
    }


def test_line_of_a_request_has_its_id() -> None:
    token = current_request.set(RequestContext("req-1"))
    try:
        assert LogFormatter("plain").format(record("x")) == f"{TIME} ERROR app.test req-1 x"
    finally:
        current_request.reset(token)


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_configuration_covers_the_service_its_server_and_libraries(log_format: str) -> None:
    program = (
        "import logging, sys; from app.logs import configure_logging; configure_logging(sys.argv[1])\n"
        "for name, level in (('app.x', 20), ('gunicorn.error', 20), ('uvicorn.error', 20), ('lib', 30), ('lib', 20)):\n"
        "    logging.getLogger(name).log(level, 'message')"
    )
    run = subprocess.run([sys.executable, "-c", program, log_format], capture_output=True, text=True, check=True)
    names = ["app.x", "gunicorn.error", "uvicorn.error", "lib"]
    assert run.stdout == ""
    if log_format == "json":
        assert [json.loads(line)["logger"] for line in run.stderr.splitlines()] == names
    else:
        assert re.findall(r"^\S+Z (?:INFO|WARNING) (\S+) - message$", run.stderr, re.MULTILINE) == names
