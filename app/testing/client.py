"""Control of a running service from a test."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl

from .process import ServiceError, ServiceProcess

_TIMEOUT = 30  # seconds
_BATCH = 200  # images; a request has at most a megabyte


@dataclass(frozen=True)
class RecordedRequest:
    """A request that the service has received. `status` is None while it has no response, and if it was dropped."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # the names in lower case
    body: str
    status: int | None
    operation: str | None  # the operationId of the OpenAPI document


class ComputeImages:
    """A service with a catalog of its own, from the start to the end of a `with` block."""

    def __enter__(self) -> "ComputeImages":
        self._process = ServiceProcess()
        self.url = f"http://127.0.0.1:{self._process.port}"
        control = _Control(self._process)
        self.images, self.tokens, self.clock = Images(control), Tokens(control), ServiceClock(control)
        self._call = control.call
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.stop()

    def reset(self) -> None:
        """Remove all images, tokens, planned failures and recorded requests, and let the clock run again."""
        self._call("POST", "reset")

    def fail(  # noqa: PLR0913 each is an option
        self,
        operation: str,
        status: int | None = 503,
        *,
        times: int = 1,
        delay: float = 0,
        drop: bool = False,
        retry_after: int = 1,
    ) -> None:
        """Let the next requests of an operation, given by its operationId, fail with a status.

        `delay` is in seconds; with None as the status, the response is late, but no error. With `drop`, the connection
        is closed without a response. `retry_after` is the value of Retry-After with 413, 429 and 503. Raises
        ValueError for an unknown operation or a value that is not accepted.
        """
        fields = {"status": status, "times": times, "delay": delay, "drop": drop, "retry_after": retry_after}
        self._call("POST", "failures", {"failure": {"operation": operation, **fields}})

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last 1000 requests since the reset."""
        return [_recorded(**each) for each in self._call("GET", "requests")["requests"]]

    @property
    def log(self) -> str:
        """What the service has logged since its start."""
        return self._process.log


class Images:
    """The images of the service."""

    def __init__(self, control: "_Control") -> None:
        self._call = control.call

    def add(self, **fields: Any) -> dict[str, Any]:
        """Add an image, with defaults for all fields that are not given, and return it as the API shows it.

        If the catalog has the id, change the given fields of that image. Raises ValueError for an invalid field.
        """
        image: dict[str, Any] = self._call("POST", "images", {"images": [fields]})["images"][0]
        return image

    def load(self, path: str | Path) -> None:
        """Add the images of a file that `compute-images import` accepts. Raises ValueError for others."""
        images = list(_images_in(json.loads(Path(path).read_bytes())))
        for first in range(0, len(images), _BATCH):
            self._call("POST", "images", {"images": images[first : first + _BATCH], "strict": False})

    def set_page_size(self, size: int | None) -> None:
        """Return lists in pages of so many images to requests that state no limit; None: of 1000."""
        self._call("PUT", "pages", {"pages": {"size": size}})


class Tokens:
    """The tokens of the service. It requires one while it has any."""

    def __init__(self, control: "_Control") -> None:
        self._call = control.call

    def add(self, project: str, *, expires: datetime | timedelta | str | None = None, admin: bool = False) -> str:
        """Add a token for a project and return it.

        It expires at a time, or after a timedelta by the clock of the service.
        """
        token: dict[str, Any] = {"project": project, "admin": admin}
        if isinstance(expires, timedelta):
            token["expires_in"] = int(expires.total_seconds())
        elif expires is not None:
            token["expires"] = _time(expires)
        return str(self._call("POST", "tokens", {"token": token})["token"])


class ServiceClock:
    """The clock by which the service sets `updated`, and by which tokens and tombstones expire."""

    def __init__(self, control: "_Control") -> None:
        self._call = control.call

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromisoformat(self._call("GET", "clock")["clock"]["time"])

    def set(self, time: datetime | str) -> None:
        """Set it to a time, at which it stands still until the reset."""
        self._call("PUT", "clock", {"clock": {"time": _time(time)}})

    def advance(self, duration: timedelta | float) -> None:
        """Move it forward, by seconds or a timedelta."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        self._call("PUT", "clock", {"clock": {"advance": seconds}})


class _Control:
    """Calls of the operations that control the service."""

    def __init__(self, process: ServiceProcess) -> None:
        self._process = process

    def call(self, method: str, name: str, document: Any = None) -> Any:
        """Return the document of the response. Raises ValueError if it is a fault, and ServiceError without one."""
        with closing(HTTPConnection("127.0.0.1", self._process.port, timeout=_TIMEOUT)) as connection:
            try:
                body = None if document is None else json.dumps(document)
                connection.request(method, f"/testing/{name}", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = response.read()
            except (OSError, HTTPException) as error:
                raise ServiceError(f"The service does not respond: {error!r}\n{self._process.log}") from error
        received: Any = json.loads(content or "null")
        if response.status >= HTTPStatus.BAD_REQUEST:
            (fault,) = received.values()
            raise ValueError(fault["message"])
        return received


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


def _time(time: datetime | str) -> str:
    """Return a time in UTC, as the service accepts it. Raises ValueError for one without an offset."""
    if isinstance(time, str):
        time = datetime.fromisoformat(time)
    if time.tzinfo is None:
        raise ValueError(f"{time} has no UTC offset; expected a time such as 2030-01-01T00:00:00Z")
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _recorded(query: str, headers: list[tuple[str, str]], **fields: Any) -> RecordedRequest:
    return RecordedRequest(query=dict(parse_qsl(query, keep_blank_values=True)), headers=dict(headers), **fields)
