"""Logging: the service log on standard error, the access log on standard output, both in the same format."""

import logging
import logging.config
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import orjson

from app.background_writer import BackgroundWriter, write_unbuffered
from app.context import current_request, find_global_request_id
from app.resources import version
from app.text import escape_control_characters
from app.timestamps import format_utc


def plain_line(time: str, source: str, request_id: str, global_request_id: str | None, message: str) -> str:
    """Return one line: time, source (level and logger), request ids and message."""
    ids = f"{request_id} {global_request_id}" if global_request_id else request_id
    return f"{time} {source} {ids} {message}"


def _format_plain(entry: Mapping[str, Any]) -> str:
    """Return one line. A traceback follows on lines of its own."""
    source = f"{entry['level']} {entry['logger']}"
    message = escape_control_characters(entry["message"])
    line = plain_line(entry["time"], source, entry["request_id"], entry["global_request_id"], message)
    return line if entry["exception"] is None else f"{line}\n{entry['exception']}"


def _format_json(entry: Mapping[str, Any]) -> str:
    """Return a JSON object on one line."""
    return orjson.dumps(entry).decode()


FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"plain": _format_plain, "json": _format_json}


_LIFECYCLE = "app.lifecycle"  # the logger of start, reload and stop, which are logged whatever the level is


class LogFormatter(logging.Formatter):
    """Formats records as plain lines or as JSON objects, with the ids of the current request."""

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self._format_entry = FORMATS[log_format]

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record. Outside of requests, its request id is "-"."""
        context = current_request.get(None)
        return self._format_entry(
            {
                "time": format_time(int(record.created)),
                "level": record.levelname,
                "logger": record.name,
                "request_id": context.request_id if context else "-",
                "global_request_id": find_global_request_id(context.headers) if context else None,
                "message": _encodable(record.getMessage()),
                "exception": _encodable(self.formatException(record.exc_info)) if record.exc_info else None,
            }
        )


class BackgroundHandler(logging.Handler):
    """Writes to standard error in a thread, so that a slow reader does not block the service."""

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self._report = partial(format_dropped, log_format, __name__, "standard error")
        self._start()
        os.register_at_fork(after_in_child=self._start)  # a worker inherits the handler of its master, but no threads

    def _start(self) -> None:
        self._writer = BackgroundWriter(partial(write_unbuffered, sys.stderr), self._report)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record soon, or drop it."""
        try:
            self._writer.put(self.format(record))
        except Exception:  # noqa: BLE001 as in all handlers: a faulty record does not fail its caller
            self.handleError(record)

    def close(self) -> None:
        """Write all records, unless standard error blocks."""
        self._writer.close()
        super().close()


def configure_logging(log_format: str, level: str) -> None:
    """Configure the service log of this process, with the format "plain" or "json"."""
    logging.config.dictConfig(logging_config(log_format, level))


def logging_config(log_format: str, level: str) -> dict[str, Any]:
    """Return the service log's configuration for `logging.config.dictConfig`."""
    own = level.upper()
    libraries = "ERROR" if own == "ERROR" else "WARNING"
    server = "DEBUG" if own == "DEBUG" else libraries  # its lines about start and stop are details
    levels = {"app": own, _LIFECYCLE: "INFO", "gunicorn.error": server, "uvicorn.error": server}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"service": {"()": LogFormatter, "log_format": log_format}},
        "handlers": {
            "service": {
                "()": BackgroundHandler,
                "log_format": log_format,
                "formatter": "service",
                "filters": [_is_not_configuration],
            }
        },
        "root": {"level": libraries, "handlers": ["service"]},
        "loggers": {name: {"level": each, "handlers": [], "propagate": True} for name, each in levels.items()},
    }


def _is_not_configuration(record: logging.LogRecord) -> bool:
    """Return False for gunicorn's line with its whole configuration, of which only a few options are this service's."""
    return not str(record.msg).startswith("Current configuration:")


def log_lifecycle(event: str, *values: object) -> None:
    """Log a start, a reload or a stop."""
    logging.getLogger(_LIFECYCLE).info(f"compute-images %s {event}", version(), *values)


def format_dropped(log_format: str, logger: str, stream: str, count: int) -> str:
    """Return the line that reports how many lines of a log were dropped."""
    message = f"{count} lines were dropped, because {stream} does not accept them fast enough."
    record = logging.makeLogRecord({"name": logger, "levelname": "WARNING", "msg": message})
    return LogFormatter(log_format).format(record)


@lru_cache(maxsize=2)  # many lines have the same second
def format_time(second: int) -> str:
    """Return a Unix time in UTC."""
    return format_utc(datetime.fromtimestamp(second, UTC))


def _encodable(text: str) -> str:
    """Escape lone surrogates, which neither JSON nor UTF-8 can represent."""
    return text.encode(errors="backslashreplace").decode()
