"""Tokens of Keystone's, which is asked about them by the library and with the credentials of OpenStack's own tools."""

import asyncio
import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from keystoneauth1.access import AccessInfoV3
from keystoneauth1.exceptions import AuthPluginException, BadRequest, Forbidden, Unauthorized
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.plugin import AUTH_INTERFACE
from openstack.config import OpenStackConfig

from app.auth.base import Caller, TokenAuthenticator, TokenInfo
from app.errors import DomainError, IdentityUnavailable
from app.settings import Settings, is_base_url
from app.text import normalize_project_id

_REQUEST_TIMEOUT = 5  # seconds, for one answer of Keystone's; the service's own token may need one first
_VALIDATION_TIMEOUT = 12  # seconds, for a caller who waits
_MAX_CONCURRENCY = 8  # questions of one worker to Keystone
_TOKEN_PATTERN = re.compile(
    b"[!-~]{1,4096}"
)  # what can be sent on in a header; Keystone's own have some 200 characters
_VALIDATION_STATUSES = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
# Keystone's word on the service's own credentials, and its library's. Whatever else goes wrong may pass.
_CREDENTIAL_ERRORS = (AuthPluginException, BadRequest, Unauthorized, Forbidden)
_ADMIN = "admin"  # the role of administrators, as OpenStack's services have it

_log = logging.getLogger(__name__)


class KeystoneConfigError(DomainError):
    """The service's own credentials for Keystone are not all there, or are wrong."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"The credentials for Keystone cannot be used: {reason}")


class KeystoneUnavailable(Exception):
    """Keystone gives no answer, or none that means something."""


class KeystoneClient:
    """Keystone, as it is asked with the service's own credentials. Whoever asks waits for the answer."""

    def __init__(self) -> None:
        """Read the credentials from clouds.yaml or the variables OS_*. Raises KeystoneUnusable."""
        try:
            self._session = OpenStackConfig(app_name="compute-images").get_one().get_session()
        except Exception as error:
            raise KeystoneConfigError(error) from error
        if not isinstance(self._session.auth, BaseIdentityPlugin) or not is_base_url(str(self._session.auth.auth_url)):
            raise KeystoneConfigError("their auth_url is no http or https URL, without a user and a query")
        self.url = str(self._session.auth.auth_url)
        self._session.timeout = _REQUEST_TIMEOUT
        self._session.redirect = False  # or whoever it sends us to is given tokens, and believed

    def authenticate(self) -> None:
        """Use the credentials. Raises KeystoneUnusable where they are wrong, else KeystoneUnavailable."""
        try:
            self._session.get_token()
        except Exception as error:
            # A password that is missing is a plain exception (keystoneauth1.identity.generic.password).
            wrong = isinstance(error, _CREDENTIAL_ERRORS) or type(error) is Exception
            raise (KeystoneConfigError if wrong else KeystoneUnavailable)(error) from error

    def validate(self, token: str) -> TokenInfo | None:
        """Tell who gives a token, and when it ends; None where it is not good. Raises KeystoneUnavailable."""
        try:
            answer = self._session.get(
                "/auth/tokens?nocatalog",
                endpoint_filter={"interface": AUTH_INTERFACE, "version": (3, 0)},
                headers={"X-Subject-Token": token},
                raise_exc=False,
                log=False,  # of the token
            )
            document = answer.json() if answer.status_code in _VALIDATION_STATUSES else {}
            # Others may answer in its place that there is nothing: that is no verdict on a token.
            if answer.status_code == document.get("error", {}).get("code") == HTTPStatus.NOT_FOUND:
                return None
            if answer.status_code == HTTPStatus.OK:
                return _token_info(AccessInfoV3(document, token))
        except Exception as error:
            raise KeystoneUnavailable(str(error) or type(error).__name__) from error
        raise KeystoneUnavailable(f"{answer.status_code} is no verdict on a token")


class KeystoneAuthenticator(TokenAuthenticator):
    """Tokens of Keystone's: a verdict holds for some seconds, and no longer than its token."""

    def __init__(self, header: str, settings: Settings) -> None:
        """Take the header that has the token, and how long verdicts may hold. Raises KeystoneUnusable."""
        self._keystone = KeystoneClient()
        super().__init__(header, f'Keystone uri="{settings.keystone_url or self._keystone.url}"')
        self._seconds = settings.verdict_seconds
        self._threads = ThreadPoolExecutor(_MAX_CONCURRENCY, thread_name_prefix="keystone")
        self._asking: dict[bytes, asyncio.Task[Caller]] = {}

    async def _identify(self, token: bytes) -> Caller:
        """Ask Keystone, unless it was asked lately or is being asked."""
        caller = self.known(token, None)
        if caller is None:
            caller = await asyncio.shield(self._asking.get(token) or self._begin(token))
        return caller

    def _begin(self, token: bytes) -> asyncio.Task[Caller]:
        asking = self._asking[token] = asyncio.create_task(self._ask(token))
        asking.add_done_callback(lambda _: self._asking.pop(token))
        return asking

    async def _ask(self, token: bytes) -> Caller:
        if not _TOKEN_PATTERN.fullmatch(token):
            raise self.refused()
        asked = time.time()
        try:
            async with asyncio.timeout(_VALIDATION_TIMEOUT):
                verdict = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._keystone.validate, token.decode("ascii")
                )
        except (KeystoneUnavailable, TimeoutError) as error:
            _log.error("Keystone cannot be asked: %s", str(error) or "it takes too long")
            raise IdentityUnavailable from error
        if verdict is None or verdict.until <= time.time():
            raise self.refused()
        return self._remember(token, verdict._replace(until=min(verdict.until, asked + self._seconds)))


def check_credentials() -> None:
    """Try the service's own credentials. Raises KeystoneUnusable; that Keystone is away may pass, and is logged."""
    try:
        KeystoneClient().authenticate()
    except KeystoneUnavailable as error:
        _log.warning("Keystone cannot be asked at the moment: %s", error)


def _token_info(access: AccessInfoV3) -> TokenInfo:
    if access.expires is None:
        raise ValueError("it does not say when a token ends")
    tenant = normalize_project_id(access.project_id) if access.project_id else None
    is_admin = tenant is not None and _ADMIN in (access.role_names or [])
    return TokenInfo(Caller(tenant, is_admin), access.expires.timestamp())
