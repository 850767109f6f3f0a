"""Reads all images of a Compute v2 API: of a cloud's Nova, or of another instance of this service."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from app.catalog.models import JsonObject
from app.errors import DomainError
from app.text import quote

_PART_BYTES = 65_536
_SUCCESS = {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}  # 203: from a replica that is stale
_HINTS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: ": the token is missing or invalid",
    HTTPStatus.FORBIDDEN: ": the token is not for the project in the URL",
    HTTPStatus.NOT_FOUND: ": expected is a URL such as http://127.0.0.1:8774/v2/PROJECT",
}


class ReadLimits(NamedTuple):
    """The limits of one read. Times are in seconds."""

    connect: float = 10
    silence: float = 30  # until the next part of a response
    page: float = 300  # for a page, with the waits before it is requested again
    retries: int = 3  # of a page, after a response with Retry-After (503, 429)
    retry_after: int = 60  # the longest wait that a response can request
    page_bytes: int = 64_000_000
    images: int = 1_000_000


READ_LIMITS = ReadLimits()


class ComputeReadFailed(DomainError):
    """The images of a Compute API could not be read completely."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")


class ComputeReader:
    """Reads the images that a token gives access to. Sends requests to the server of the URL only."""

    def __init__(self, url: str, token: str | None = None, *, limits: ReadLimits = READ_LIMITS) -> None:
        """Set the URL of the API, with version and project: http://127.0.0.1:8774/v2/openstack."""
        self._url = f"{url.rstrip('/')}/images/detail"
        self._limits = limits
        self._headers = {"Accept": "application/json"} | ({"X-Auth-Token": token} if token else {})
        retry = Retry(
            limits.retries, connect=0, read=False, other=0, raise_on_status=False, retry_after_max=limits.retry_after
        )
        self._session = requests.Session()
        self._session.auth = lambda request: request  # otherwise, requests would send a password from ~/.netrc
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def pages(self) -> Iterator[list[Any]]:
        """Yield the images, a page at a time. Raises ComputeReadFailed."""
        query, seen, count = "", set[str](), 0
        while query not in seen:
            seen.add(query)
            page = self._get(query)
            count += len(page["images"])
            if count > self._limits.images:
                raise self._failed(f"it has more than {self._limits.images} images")
            yield page["images"]
            query = self._next_query(page)
            if not query:
                return
        raise self._failed("its links to next pages form a cycle")

    def _next_query(self, page: JsonObject) -> str:
        """Return the query of the link to the next page, empty on the last one.

        The rest of the link is ignored: it is often wrong behind a proxy, and it must not lead to another server.
        """
        try:
            links = [link["href"] for link in page.get("images_links") or () if link["rel"] == "next"]
            query = urlsplit(links[0]).query if links else ""
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise self._failed("its links to other pages are malformed") from error
        if links and ("marker=" not in query or not page["images"]):
            raise self._failed(f"its link to the next page, {quote(str(links[0]))}, is invalid")
        return query

    def _get(self, query: str) -> JsonObject:
        """Return a page, within the limit of its time.

        A thread reads it, because http.client reads a slow head, and responses that announce another one (status 100),
        without an end.
        """
        future: Future[JsonObject] = Future()

        def read() -> None:
            try:
                future.set_result(self._request(query))
            except Exception as error:  # noqa: BLE001 raised below, in the other thread
                future.set_exception(error)

        threading.Thread(target=read, daemon=True).start()
        try:
            return future.result(self._limits.page)
        except TimeoutError as error:
            raise self._failed("it does not respond in time") from error

    def _request(self, query: str) -> JsonObject:
        try:
            with self._session.get(
                f"{self._url}?{query}" if query else self._url,
                headers=self._headers,
                timeout=(self._limits.connect, self._limits.silence),
                allow_redirects=False,  # they could lead to another server
                stream=True,
            ) as response:
                status = response.status_code
                if status not in _SUCCESS:
                    location = (
                        f": it redirects to {quote(response.headers['location'])}" if response.is_redirect else ""
                    )
                    raise self._failed(f"the response has status {status}{location or _HINTS.get(status, '')}")
                page = orjson.loads(self._read(response))
        except requests.Timeout as error:
            raise self._failed("it does not respond in time") from error
        except (requests.RequestException, HTTPError) as error:  # HTTPError: from urllib3, while the body is read
            raise self._failed(f"the connection failed: {_cause(error)}") from error
        except orjson.JSONDecodeError as error:
            raise self._failed("the response is not JSON") from error
        if not isinstance(page, dict) or not isinstance(page.get("images"), list):
            raise self._failed("the response is not a list of images")
        return page

    def _read(self, response: requests.Response) -> bytes:
        """Return the body, within the limit of its size."""
        body = bytearray()
        while part := response.raw.read1(_PART_BYTES, decode_content=True):  # does not wait for more than has arrived
            body += part
            if len(body) > self._limits.page_bytes:
                raise self._failed(f"a page is larger than {self._limits.page_bytes} bytes")
        return bytes(body)

    def _failed(self, reason: str) -> ComputeReadFailed:
        return ComputeReadFailed(self._url, reason)


def _cause(error: BaseException) -> BaseException:
    """Return the innermost error, whose message states the cause without class names."""
    inner = error.args[-1] if error.args else None
    if not isinstance(inner, BaseException):
        inner = error.__cause__ or error.__context__
    return error if inner is None else _cause(inner)
