"""The service log: one format for all lines, with the id of the request that a line belongs to."""

import json
import logging
import subprocess
import sys

import pytest

from app.context import RequestContext, current_request
from app.logs import LogFormatter

TIME = "2026-01-01T00:00:00Z"


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, None) if error else None
    made = logging.LogRecord("app.test", logging.ERROR, "test.py", 1, message, None, exc_info)
    made.created = 1767225600.9
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
        "global_request_id": None,
        "message": message.encode(errors="backslashreplace").decode(),
        "exception": error and "ValueError: why",
    }


GLOBAL_ID = "req-0123abcd-0123-abcd-ef01-0123456789ab"


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        ([], None),
        ([GLOBAL_ID], GLOBAL_ID),
        *(
            ([each], None)
            for each in ("", GLOBAL_ID[4:], GLOBAL_ID.upper(), f"{GLOBAL_ID}0", f"{GLOBAL_ID}\n", "req-1")
        ),
        ([GLOBAL_ID, GLOBAL_ID], None),
    ],
)
def test_line_of_a_request_has_its_id_and_a_valid_one_of_the_client(sent: list[str], logged: str | None) -> None:
    headers = [(b"host", b"a"), *((b"x-openstack-request-id", each.encode()) for each in sent)]
    token = current_request.set(RequestContext("req-1", headers=headers))
    try:
        assert (
            LogFormatter("plain").format(record("x")) == f"{TIME} ERROR app.test req-1{f' {logged}' * bool(logged)} x"
        )
        entry = json.loads(LogFormatter("json").format(record("x")))
        assert (entry["request_id"], entry["global_request_id"]) == ("req-1", logged)
    finally:
        current_request.reset(token)


LOGGED = {  # by IMAGES_LOG_LEVEL: which loggers log from which level on
    "debug": {"app.x": 10, "app.lifecycle": 20, "gunicorn.error": 10, "uvicorn.error": 10, "lib": 30},
    "info": {"app.x": 20, "app.lifecycle": 20, "gunicorn.error": 30, "uvicorn.error": 30, "lib": 30},
    "warning": {"app.x": 30, "app.lifecycle": 20, "gunicorn.error": 30, "uvicorn.error": 30, "lib": 30},
    "error": {"app.x": 40, "app.lifecycle": 20, "gunicorn.error": 40, "uvicorn.error": 40, "lib": 40},
}
LOG_ALL = """
import logging, sys
from app.logs import configure_logging
configure_logging(*sys.argv[1:3])
for name in sys.argv[3:]:
    for level in (10, 20, 30, 40):
        logging.getLogger(name).log(level, "message")
"""


@pytest.mark.parametrize("level", LOGGED)
@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_configuration_covers_the_service_its_server_and_libraries(log_format: str, level: str) -> None:
    command = [sys.executable, "-c", LOG_ALL, log_format, level, *LOGGED[level]]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split()[1:3] for line in run.stderr.splitlines()]
    if log_format == "json":
        lines = [[entry["level"], entry["logger"]] for entry in map(json.loads, run.stderr.splitlines())]
    names = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR"}
    assert run.stdout == ""
    assert lines == [[names[each], name] for name, least in LOGGED[level].items() for each in names if each >= least]
