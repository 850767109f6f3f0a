"""Glance v2, as it is asked with the library of OpenStack's own tools."""

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

from app.catalog.models import JsonObject
from app.errors import DomainError

PAGE_SIZE = 1000  # images; Glance gives no more
_REQUEST_TIMEOUT, _MEMBERS_TIMEOUT = 25, 10  # seconds: the making of a page takes Glance some
_IMAGE = "image"  # the type of the service

_ADMIN = "admin"  # the role
_NO_COOKIES = DefaultCookiePolicy(allowed_domains=[])

_PATCH = "application/openstack-images-v2.1-json-patch"


class CloudConfigError(DomainError):
    """The cloud that `clouds.yaml` or the variables OS_* name cannot be used, or they name none."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"The cloud cannot be used: {reason}")


class UpstreamError(Exception):
    """The image service gives no answer that can be used. What happened is said without a word of where."""

    def __init__(self, what: str, status: int | None = None) -> None:
        """Take what happened, as it begins a sentence, and the status of the answer if it was one."""
        super().__init__(f"{what} occurred")
        self.what = what
        self.status = status


class MarkerNotFound(UpstreamError):
    """The last image of a page was deleted before the next page was asked for."""


class GlanceClient:
    """A Glance, as one caller sees it."""

    def __init__(
        self,
        session: Session,
        url: str,
        *,
        is_admin: bool = False,
        token: str | None = None,
        answer_in: float = _REQUEST_TIMEOUT,
    ) -> None:
        """Take a session, whose credentials are used unless a token is given; and the URL without a version."""
        session.session.cookies.set_policy(_NO_COOKIES)  # or callers would send those of others
        self._session = session
        self.url = url
        self.is_admin = is_admin
        self._answer_in = answer_in
        self._who: dict[str, Any] = {} if token is None else {"authenticated": False}
        self._headers = {} if token is None else {"X-Auth-Token": token}

    def pages(self, since: str | None = None) -> Iterator[list[Any]]:
        """Give all images, or those that changed at that time or later, a page at a time, the newest images first.

        Their order is by when they were created, which does not change meanwhile. Raises UpstreamFailed.
        """
        asked = {"limit": PAGE_SIZE, "visibility": "all"} | ({} if since is None else {"updated_at": f"gte:{since}"})
        query, seen = urlencode(asked), set[str]()
        while query:
            page = self._page(query)
            yield page["images"]
            seen.add(query)
            query = _query(page.get("next", ""))
            if query in seen:
                raise UpstreamError("A page that came before")

    def check(self) -> None:
        """Raise UpstreamFailed unless it lists images."""
        self._page("limit=1")

    def image(self, image_id: str) -> Any:
        """Give an image; None where there is none. Raises UpstreamFailed."""
        return self._find(_path(image_id))

    def members(self, image_id: str) -> list[str] | None:
        """Give the projects that accepted an image; None where it is gone. Raises UpstreamFailed."""
        answer = self._find(f"{_path(image_id)}/members", timeout=min(self._answer_in, _MEMBERS_TIMEOUT))
        if answer is None:
            return None
        try:
            return [each["member_id"] for each in answer["members"] if each["status"] == "accepted"]
        except (KeyError, TypeError) as error:
            raise UpstreamError("A malformed answer") from error

    def delete(self, image_id: str) -> None:
        """Delete an image. Raises UpstreamFailed."""
        self._ask("DELETE", _path(image_id))

    def patch(self, image_id: str, changes: list[JsonObject]) -> Any:
        """Change an image as RFC 6902 says it, and give it. Raises UpstreamFailed."""
        return self._ask("PATCH", _path(image_id), data=orjson.dumps(changes), headers={"Content-Type": _PATCH})

    def _page(self, query: str) -> JsonObject:
        try:
            page = self._ask("GET", f"/images?{query}")
        except UpstreamError as error:
            if "marker=" in query and error.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
                raise MarkerNotFound(error.what, error.status) from error
            raise
        well_formed = isinstance(page, dict) and isinstance(page.get("images"), list)
        if not well_formed or not isinstance(page.get("next", ""), str):
            raise UpstreamError("A malformed page")
        return dict(page)

    def _find(self, path: str, **options: Any) -> Any:
        """Give the document at a path; None where nothing is there, but not where there is no document."""
        try:
            document = self._ask("GET", path, **options)
        except UpstreamError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        if document is None:
            raise UpstreamError("A malformed answer")
        return document

    def _ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Any:
        """Give the document of an answer that all went well; None where it has none."""
        with _translate_errors():
            answer = self._session.request(
                f"{self.url}/v2{path}",
                method,
                headers=self._headers | (headers or {}),
                raise_exc=False,
                redirect=False,  # or whoever it sends us to is given tokens, and believed
                log=False,  # of tokens
                **{"timeout": self._answer_in} | self._who | options,
            )
        if not HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
            raise UpstreamError(f"An answer with status {answer.status_code}", answer.status_code)
        try:
            return orjson.loads(answer.content) if answer.content else None
        except orjson.JSONDecodeError as error:
            raise UpstreamError("A malformed answer") from error


def load_cloud_config() -> CloudRegion:
    """Read which cloud is used, and how. Raises CloudUnusable."""
    try:
        return OpenStackConfig(app_name="compute-images").get_one()
    except Exception as error:
        raise CloudConfigError(error) from error


def connect(region: CloudRegion) -> GlanceClient:
    """Give the Glance of a cloud, as the credentials see it. Raises CloudUnusable, and UpstreamFailed."""
    try:
        with _translate_errors():
            session: Session = region.get_session()
            session.get_token()  # or credentials that cannot be used would be noticed in the middle of a pass
            url = region.get_endpoint(_IMAGE) or session.get_endpoint(
                service_type=_IMAGE,
                interface=region.get_interface(_IMAGE),
                region_name=region.get_region_name(_IMAGE),
            )
    except (UpstreamError, CloudConfigError):
        raise
    except Exception as error:  # a password that is missing is no more than that (keystoneauth1.identity.generic)
        raise CloudConfigError(error) from error
    if url is None:
        raise CloudConfigError("its catalog has no image service")
    return GlanceClient(session, _without_version(url), is_admin=_is_admin(session))


GlanceClientFactory = Callable[[str, str, float], GlanceClient]


def client_factory() -> GlanceClientFactory:
    """Give how a Glance is reached by its URL, with a caller's token, in so many seconds.

    The cloud tells which certificates are believed; it is read when a copy is first served.
    """
    session = cache(lambda: load_cloud_config().get_session())
    return lambda url, token, answer_in: GlanceClient(session(), url, token=token, answer_in=answer_in)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Make failures of the way to the image service, Keystone included, those of the image service."""
    try:
        yield
    except ConnectTimeout as error:
        raise UpstreamError("A timeout") from error
    except HttpError as error:  # of Keystone's, as those of Glance are not raised
        raise UpstreamError("A refusal of the credentials") from error
    except AuthPluginException as error:
        raise CloudConfigError(error) from error
    except ClientException as error:
        raise UpstreamError("A failure of the connection") from error


def _is_admin(session: Session) -> bool:
    """Tell whether the credentials are an administrator's, as far as their token tells."""
    access = session.auth.get_access(session) if isinstance(session.auth, BaseIdentityPlugin) else None
    return access is not None and _ADMIN in (access.role_names or [])


def _without_version(url: str) -> str:
    base, _, last = url.rstrip("/").rpartition("/")
    return base if last.startswith("v") and last[1:].replace(".", "").isdigit() else url.rstrip("/")


def _query(url: str) -> str:
    """Give the query of a link to the page after; there is none after the last page. Raises UpstreamFailed."""
    try:
        query = urlsplit(url).query
    except ValueError as error:
        raise UpstreamError("A malformed page") from error
    if url and "marker=" not in query:
        raise UpstreamError("A malformed page")
    return query


def _path(image_id: str) -> str:
    return f"/images/{quote(image_id, safe='')}"
