"""Controls a running service from a test."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from .process import ServiceError, ServiceProcess
from .values import Duration, Headers, Time, to_seconds, to_utc

_TIMEOUT = 30  # seconds
_TIMES = ("created", "updated")
_BATCH = 200  # images; a request has at most a megabyte

_Call = Callable[..., Any]
_Now = Callable[[], datetime]


@dataclass(frozen=True)
class RecordedRequest:
    """A request that the service has received. `status` is None until it has a response, or if it was dropped."""

    method: str
    path: str
    query: dict[str, list[str]]  # the values of each parameter
    headers: Headers
    body: str
    status: int | None
    operation: str | None  # the operationId of the OpenAPI document


class ComputeImages:
    """A service with its own catalog, which runs during a `with` block."""

    def __init__(self, python: str | Path | None = None) -> None:
        """Set the interpreter of the service, if compute-images is installed in another environment than the tests.

        Without it, the environment variable COMPUTE_IMAGES_PYTHON names one, or it is the interpreter of the tests.
        """
        self._python = python
        self._process: ServiceProcess | None = None
        self.clock = ServiceClock(self._call)
        self.images, self.tokens = Images(self._call, self.clock.now), Tokens(self._call, self.clock.now)

    def __enter__(self) -> "ComputeImages":
        self._process = ServiceProcess(self._python)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.stop()
        self._process = None

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._running.port}"

    def reset(self) -> None:
        """Remove all images, tokens, planned failures and recorded requests, and let the clock run again."""
        self._call("POST", "reset")

    def fail(  # noqa: PLR0913 each is an option
        self,
        operation: str,
        status: int | None = 503,
        *,
        times: int = 1,
        delay: Duration = 0,
        drop: bool = False,
        retry_after: Duration = 1,
    ) -> None:
        """Let the next requests of an operation, given by its operationId, fail with a status.

        `delay` is a timedelta or in seconds; with None as the status, the response is late, but no error. With `drop`,
        the connection is closed without a response. `retry_after` is the value of Retry-After with 413, 429 and 503.
        Raises ValueError for an unknown operation or a value that is not accepted.
        """
        fields = {"operation": operation, "status": status, "times": times, "drop": drop}
        seconds = {"delay": to_seconds(delay), "retry_after": to_seconds(retry_after)}
        self._call("POST", "failures", {"failure": fields | seconds})

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last 1000 requests since the last reset."""
        return [_recorded(**each) for each in self._call("GET", "requests")["requests"]]

    @property
    def log(self) -> str:
        """What the service has logged since its start."""
        return self._running.log

    @property
    def _running(self) -> ServiceProcess:
        if self._process is None:
            raise ServiceError("The service does not run: use ComputeImages in a with block.")
        return self._process

    def _call(self, method: str, name: str, document: Any = None) -> Any:
        """Return the document of the response. Raises ValueError for a fault, and ServiceError without a response."""
        process = self._running
        with closing(HTTPConnection("127.0.0.1", process.port, timeout=_TIMEOUT)) as connection:
            try:
                body = None if document is None else json.dumps(document)
                connection.request(method, f"/testing/{name}", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = response.read()
            except (OSError, HTTPException) as error:
                raise ServiceError(f"The service does not respond: {error!r}\n{process.log}") from error
        received: Any = json.loads(content or "null")
        if response.status >= HTTPStatus.BAD_REQUEST:
            (fault,) = received.values()
            raise ValueError(fault["message"])
        return received


class Images:
    """The images of the service."""

    def __init__(self, call: _Call, now: _Now) -> None:
        self._call, self._now = call, now

    def add(self, **fields: Any) -> dict[str, Any]:
        """Add an image, with defaults for all fields that are not given, and return it as the API shows it.

        If the catalog has the id, change the given fields of that image. `created` and `updated` can be in all forms of
        `ServiceClock.set`, and in those of image files. Raises ValueError for an invalid field.
        """
        times = {
            name: to_utc(fields[name], self._now) for name in _TIMES if not isinstance(fields.get(name), str | None)
        }
        image: dict[str, Any] = self._call("POST", "images", {"images": [fields | times]})["images"][0]
        return image

    def load(self, path: str | Path) -> None:
        """Add the images of a file that `compute-images import` accepts. Raises ValueError for others."""
        images = list(_images_in(json.loads(Path(path).read_bytes())))
        for first in range(0, len(images), _BATCH):
            self._call("POST", "images", {"images": images[first : first + _BATCH], "strict": False})

    def set_page_size(self, size: int | None) -> None:
        """Set the page size of lists, for requests without `limit`; None restores the default, 1000."""
        self._call("PUT", "pages", {"pages": {"size": size}})


class Tokens:
    """The tokens of the service. While there are any, requests need one."""

    def __init__(self, call: _Call, now: _Now) -> None:
        self._call, self._now = call, now

    def add(self, project: str, *, expires: Time | None = None, admin: bool = False) -> str:
        """Add a token for a project and return it. It expires at a time in one of the forms of `ServiceClock.set`."""
        token: dict[str, Any] = {"project": project, "admin": admin}
        if expires is not None:
            token["expires"] = to_utc(expires, self._now)
        return str(self._call("POST", "tokens", {"token": token})["token"])


class ServiceClock:
    """The clock of the service, which `created`, `updated`, tokens and tombstones depend on."""

    def __init__(self, call: _Call) -> None:
        self._call = call

    def now(self) -> datetime:
        """Return the time of the service's clock."""
        return datetime.fromisoformat(self._call("GET", "clock")["clock"]["time"])

    def set(self, time: Time) -> None:
        """Set it to a time, at which it stands still until the reset.

        The time is a datetime with a UTC offset, text in ISO format with an offset, or a timedelta or a number of
        seconds from now.
        """
        self._call("PUT", "clock", {"clock": {"time": to_utc(time, self.now)}})

    def advance(self, duration: Duration) -> None:
        """Move it forward, by a timedelta or a number of seconds."""
        self._call("POST", "clock", {"clock": {"advance": to_seconds(duration)}})


def _images_in(document: Any) -> Iterator[Any]:
    """Yield the images of an image file: a list, a single image, or an array of images or of these documents."""
    match document:
        case {"images": list(images)}:
            yield from images
        case {"image": dict(image)} | ({"id": _} as image):
            yield image
        case list():
            for each in document:
                yield from _images_in(each)
        case _:
            raise ValueError(
                f"{str(document)[:40]!r} contains no images; accepted are "
                '{"images": [...]}, {"image": {...}}, an array of images, and one image'
            )


def _recorded(query: str, headers: list[tuple[str, str]], **fields: Any) -> RecordedRequest:
    return RecordedRequest(query=parse_qs(query, keep_blank_values=True), headers=Headers(headers), **fields)
