"""Client of an image service (Glance v2), built on keystoneauth."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
from keystoneauth1.exceptions import AuthPluginException, ClientException, ConnectTimeout, HttpError
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session
from openstack.config import OpenStackConfig
from openstack.config.cloud_region import CloudRegion

from app.auth.keystone import has_admin_role
from app.catalog.models import JsonObject
from app.errors import DomainError

PAGE_SIZE = 1000  # images; Glance's own maximum
_REQUEST_TIMEOUT, _MEMBERS_TIMEOUT = 25, 10  # seconds; Glance needs several for a large page
_SERVICE_TYPE = "image"

_NO_COOKIES = DefaultCookiePolicy(allowed_domains=[])

# In this version, Glance rejects an addition whose name is taken (409). In later versions, it would also accept the
# names of attributes of its own classes, and `image_id` would write to another image.
_JSON_PATCH = "application/openstack-images-v2.0-json-patch"


class CloudConfigError(DomainError):
    """`clouds.yaml` or the `OS_*` variables name no cloud, or one that cannot be used."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"Invalid cloud configuration: {reason}")


class UpstreamError(Exception):
    """A request to the image service failed. The message never names a host; the cause may."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        """Set the reason, a noun phrase such as "A timeout", and the status of the response if there was one."""
        super().__init__(f"{reason} occurred")
        self.reason = reason
        self.status = status


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
        self._auth_options: dict[str, Any] = {} if token is None else {"authenticated": False}
        self._headers = {} if token is None else {"X-Auth-Token": token}

    def list_pages(self, changed_since: str | None = None) -> Iterator[list[Any]]:
        """Yield all images, or those changed at that time or later, a page at a time, the newest first.

        The order is by creation time, which does not change while pages are read.
        """
        params = {"limit": PAGE_SIZE, "visibility": "all"}
        if changed_since is not None:
            params |= {"updated_at": f"gte:{changed_since}"}
        query, seen = urlencode(params), set[str]()
        while query:
            page = self._get_page(query)
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

    def list_accepted_members(self, image_id: str) -> list[str] | None:
        """Return the projects that accepted an image, or None if Glance has no such image."""
        document = self._get(f"{_image_path(image_id)}/members", timeout=min(self._timeout, _MEMBERS_TIMEOUT))
        if document is None:
            return None
        try:
            return [member["member_id"] for member in document["members"] if member["status"] == "accepted"]
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
        with _translate_errors():
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


def load_cloud_config() -> CloudRegion:
    """Read the configuration of the cloud from `clouds.yaml` or the environment. Raises CloudConfigError."""
    try:
        return OpenStackConfig(app_name="compute-images").get_one()
    except Exception as error:
        raise CloudConfigError(error) from error


def connect(region: CloudRegion) -> GlanceClient:
    """Return a client of a cloud's Glance with the configured credentials. Raises CloudConfigError and UpstreamError.

    The credentials are used at once, so that invalid ones do not fail in the middle of a sync.
    """
    try:
        with _translate_errors():
            session: Session = region.get_session()
            session.get_token()
            url = region.get_endpoint(_SERVICE_TYPE) or session.get_endpoint(
                service_type=_SERVICE_TYPE,
                interface=region.get_interface(_SERVICE_TYPE),
                region_name=region.get_region_name(_SERVICE_TYPE),
            )
    except (UpstreamError, CloudConfigError):
        raise
    except Exception as error:  # keystoneauth raises a bare Exception for a missing password, for example
        raise CloudConfigError(error) from error
    if url is None:
        raise CloudConfigError("the service catalog has no image service")
    return GlanceClient(session, _strip_version(url), is_admin=_is_admin(session))


GlanceClientFactory = Callable[[str, str, float], GlanceClient]


def client_factory(load_config: Callable[[], CloudRegion] = load_cloud_config) -> GlanceClientFactory:
    """Return a function that builds a client from a URL, a caller's token and a timeout in seconds.

    All clients share one session, which has the certificates of the cloud. The configuration is read once, when the
    first client is built, so that none is required if the catalog is not a replica.
    """
    session = cache(lambda: load_config().get_session())
    return lambda url, token, timeout: GlanceClient(session(), url, token=token, timeout=timeout)


@contextmanager
def _translate_errors() -> Iterator[None]:
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


def _is_admin(session: Session) -> bool:
    """Return whether the token of the session's credentials has the admin role."""
    access = session.auth.get_access(session) if isinstance(session.auth, BaseIdentityPlugin) else None
    return access is not None and has_admin_role(access)


def _strip_version(url: str) -> str:
    base, _, last = url.rstrip("/").rpartition("/")
    return base if last.startswith("v") and last[1:].replace(".", "").isdigit() else url.rstrip("/")


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
