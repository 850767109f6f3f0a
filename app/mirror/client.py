"""Client of an image service (Glance v2), built on keystoneauth."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
from keystoneauth1.exceptions import AuthPluginException, ClientException, ConnectTimeout, HttpError
from keystoneauth1.session import Session

from app.catalog.models import JsonObject
from app.errors import DomainError

PAGE_SIZE = 1000  # images; Glance's own maximum
_ALL_VISIBILITIES, _EACH_VISIBILITY = ("all",), ("public", "private", "shared", "community")
_REQUEST_TIMEOUT, _MEMBERS_TIMEOUT = 25, 10  # seconds; Glance needs several for a large page
_NO_COOKIES = DefaultCookiePolicy(allowed_domains=[])

# In this version, Glance rejects an addition whose name is taken (409). In later versions, it would also accept the
# names of attributes of its own classes, and `image_id` would write to another image.
_JSON_PATCH = "application/openstack-images-v2.0-json-patch"


class CloudConfigError(DomainError):
    """`clouds.yaml` or the `OS_*` variables name no cloud, or one that cannot be used."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"Invalid cloud configuration: {reason}")


class UpstreamError(Exception):
    """A request to the image service failed. The message never names a host; its explanation may."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        """Set the reason, a noun phrase such as "A timeout", and the status of the response if there was one."""
        super().__init__(f"{reason} occurred at the image service")
        self.reason = reason
        self.status = status

    @property
    def explanation(self) -> str:
        """The message with its cause, for logs and commands."""
        return f"{self}: {self.__cause__}" if self.__cause__ else str(self)


class MarkerNotFound(UpstreamError):
    """The last image of a page was deleted before the next page was requested."""


class GlanceClient:
    """A client of one Glance, with the credentials of one caller. All methods raise UpstreamError."""

    def __init__(
        self,
        session: Session,
        url: str,
        *,
        is_admin: bool = False,
        token: str | None = None,
        timeout: float = _REQUEST_TIMEOUT,
    ) -> None:
        """Use the token, or the session's credentials if there is none. The URL has no version."""
        session.session.cookies.set_policy(_NO_COOKIES)  # callers share the session, but must not share cookies
        self._session = session
        self.url = url
        self.is_admin = is_admin
        self._timeout = timeout
        self._visibilities: tuple[str, ...] = _ALL_VISIBILITIES
        self._auth_options: dict[str, Any] = {} if token is None else {"authenticated": False}
        self._headers = {} if token is None else {"X-Auth-Token": token}

    def list_pages(self, changed_since: str | None = None) -> Iterator[list[Any]]:
        """Yield all images, or those changed at that time or later, a page at a time. Hidden ones follow the others.

        The order is by creation time, the newest first, which does not change while pages are read.
        """
        changed = {} if changed_since is None else {"updated_at": f"gte:{changed_since}"}
        yield from self._list_pages(changed)
        yield from self._list_pages(changed | {"os_hidden": "true"})

    def _list_pages(self, filters: dict[str, str]) -> Iterator[list[Any]]:
        """Yield the pages of images of all visibilities. Glance before Train lists only one visibility at a time."""
        try:
            for visibility in self._visibilities:
                yield from self._follow_pages(urlencode({"limit": PAGE_SIZE, "visibility": visibility} | filters))
        except UpstreamError as error:
            is_unknown = error.status == HTTPStatus.BAD_REQUEST and not isinstance(error, MarkerNotFound)
            if not is_unknown or self._visibilities is _EACH_VISIBILITY:
                raise
            self._visibilities = _EACH_VISIBILITY
            yield from self._list_pages(filters)

    def _follow_pages(self, query: str) -> Iterator[list[Any]]:
        seen = set[str]()
        while query:
            page = self._get_page(query)
            if page["images"]:
                yield page["images"]
            seen.add(query)
            query = _query_of_next_page(page.get("next", ""))
            if query in seen:
                raise UpstreamError("A pagination loop")

    def ping(self) -> None:
        """Raise UpstreamError unless Glance can list images."""
        self._get_page("limit=1")

    def get_image(self, image_id: str) -> Any:
        """Return an image, or None if Glance has no such image."""
        return self._get(_image_path(image_id))

    def list_members(self, image_id: str) -> dict[str, str] | None:
        """Return the members of an image with their statuses, or None if Glance has no such image."""
        document = self._get(f"{_image_path(image_id)}/members", timeout=min(self._timeout, _MEMBERS_TIMEOUT))
        if document is None:
            return None
        try:
            return {member["member_id"]: member["status"] for member in document["members"]}
        except (KeyError, TypeError) as error:
            raise UpstreamError("A malformed response") from error

    def delete_image(self, image_id: str) -> None:
        """Delete an image."""
        self._request("DELETE", _image_path(image_id))

    def patch_image(self, image_id: str, patch: list[JsonObject]) -> Any:
        """Apply a JSON patch to an image, and return the image. Each change has one member: add, replace or remove."""
        return self._request(
            "PATCH", _image_path(image_id), data=orjson.dumps(patch), headers={"Content-Type": _JSON_PATCH}
        )

    def _get_page(self, query: str) -> JsonObject:
        try:
            page = self._request("GET", f"/images?{query}")
        except UpstreamError as error:
            if "marker=" in query and error.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
                raise MarkerNotFound(error.reason, error.status) from error
            raise
        is_well_formed = isinstance(page, dict) and isinstance(page.get("images"), list)
        if not is_well_formed or not isinstance(page.get("next", ""), str):
            raise UpstreamError("A malformed page")
        return dict(page)

    def _get(self, path: str, **options: Any) -> Any:
        """Return the document at a path, or None on 404. A successful response without a document is malformed."""
        try:
            document = self._request("GET", path, **options)
        except UpstreamError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        if document is None:
            raise UpstreamError("A malformed response")
        return document

    def _request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Any:
        """Send a request, and return the JSON document of a successful response, or None if its body is empty."""
        with translate_errors():
            response = self._session.request(
                f"{self.url}/v2{path}",
                method,
                headers=self._headers | (headers or {}),
                raise_exc=False,
                redirect=False,  # a redirect would send the token to another host, and trust what it returns
                log=False,  # the log would contain tokens
                **{"timeout": self._timeout} | self._auth_options | options,
            )
        if not HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES:
            raise UpstreamError(f"A response with status {response.status_code}", response.status_code)
        try:
            return orjson.loads(response.content) if response.content else None
        except orjson.JSONDecodeError as error:
            raise UpstreamError("A malformed response") from error


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise keystoneauth's errors, those of Keystone included, as UpstreamError or CloudConfigError."""
    try:
        yield
    except ConnectTimeout as error:
        raise UpstreamError("A timeout") from error
    except HttpError as error:  # from Keystone: requests to Glance are sent with raise_exc=False
        raise UpstreamError("An authentication failure") from error
    except AuthPluginException as error:
        raise CloudConfigError(error) from error
    except ClientException as error:
        raise UpstreamError("A connection failure") from error


def _query_of_next_page(url: str) -> str:
    """Return the query of a page's `next` link, which is empty on the last page."""
    try:
        query = urlsplit(url).query
    except ValueError as error:
        raise UpstreamError("A malformed page") from error
    if url and "marker=" not in query:
        raise UpstreamError("A malformed page")
    return query


def _image_path(image_id: str) -> str:
    return f"/images/{quote(image_id, safe='')}"
