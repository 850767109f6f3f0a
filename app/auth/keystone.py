"""Authentication by Keystone tokens, with the library and the credentials that OpenStack's own tools use."""

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from http import HTTPStatus
from typing import Protocol, TypeVar

from keystoneauth1.access import AccessInfo, AccessInfoV3
from keystoneauth1.exceptions import AuthPluginException, BadRequest, Forbidden, Unauthorized
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.plugin import AUTH_INTERFACE
from openstack.config import OpenStackConfig

from app.auth.base import TokenAuthenticator, TokenInfo
from app.context import Caller
from app.errors import DomainError, IdentityUnavailable
from app.settings import Settings, is_base_url
from app.text import normalize_project_id
from app.timestamps import SYSTEM_CLOCK, Clock

_REQUEST_TIMEOUT = 5  # seconds, for one request to Keystone; the service's own token may require another one first
_VALIDATION_TIMEOUT = 12  # seconds that a request waits for the validation of its token
_CHECK_TIMEOUT = 3  # seconds, for the check of whether tokens can be validated
_CHECK_INTERVAL = 5  # seconds, in which one check is enough
_MAX_CONCURRENCY = 8  # requests of one worker to Keystone
# Text that can be sent in a header; Keystone's tokens have about 200 characters.
_TOKEN_PATTERN = re.compile(b"[!-~]{1,4096}")
_VALIDATION_STATUSES = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
# The errors with which Keystone and its library reject the service's own credentials. Others may be temporary.
_CREDENTIAL_ERRORS = (AuthPluginException, BadRequest, Unauthorized, Forbidden)
_ADMIN_ROLE = "admin"

T = TypeVar("T")

_log = logging.getLogger(__name__)


class KeystoneConfigError(DomainError):
    """The service's own credentials for Keystone are incomplete or wrong."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"The credentials for Keystone cannot be used: {reason}")


class KeystoneUnavailable(Exception):
    """Keystone does not respond, or its response is not one of Keystone's."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"Keystone is unavailable: {reason}")


class TokenValidator(Protocol):
    """The interface of Keystone that the authenticator uses."""

    url: str

    def validate(self, token: str) -> TokenInfo | None:
        """Return the result of a token's validation, None for an invalid token. Raises KeystoneUnavailable."""

    def check(self) -> None:
        """Validate the service's own token. Raises KeystoneUnavailable, and KeystoneConfigError."""


class KeystoneClient:
    """A Keystone, used with the service's own credentials. Calls block."""

    def __init__(self, *, timeout: float = _REQUEST_TIMEOUT) -> None:
        """Read the credentials from clouds.yaml or the variables OS_*. Raises KeystoneConfigError."""
        try:
            self._session = OpenStackConfig(app_name="compute-images").get_one().get_session()
        except Exception as error:
            raise KeystoneConfigError(error) from error
        if not isinstance(self._session.auth, BaseIdentityPlugin) or not is_base_url(str(self._session.auth.auth_url)):
            raise KeystoneConfigError("auth_url has to be an http or https URL without user and query")
        self.url = str(self._session.auth.auth_url)
        self._session.timeout = timeout
        self._session.redirect = False  # another server must neither receive nor validate the tokens

    def authenticate(self) -> None:
        """Raise KeystoneConfigError if Keystone rejects the credentials, KeystoneUnavailable for other errors."""
        try:
            self._session.get_token()
        except Exception as error:
            # keystoneauth1.identity.generic.password raises a plain Exception for a missing password.
            is_rejected = isinstance(error, _CREDENTIAL_ERRORS) or type(error) is Exception
            raise (KeystoneConfigError if is_rejected else KeystoneUnavailable)(error) from error

    def check(self) -> None:
        """Validate the service's own token. Raises what `authenticate` raises."""
        self.authenticate()
        self.validate(self._session.get_token() or "")

    def validate(self, token: str) -> TokenInfo | None:
        """Return the result of a token's validation, None for an invalid token. Raises KeystoneUnavailable."""
        try:
            response = self._session.get(
                "/auth/tokens?nocatalog",
                endpoint_filter={"interface": AUTH_INTERFACE, "version": (3, 0)},
                headers={"X-Subject-Token": token},
                raise_exc=False,
                log=False,  # it would log the token
            )
            document = response.json() if response.status_code in _VALIDATION_STATUSES else {}
            # A proxy's own 404 does not mean that the token is invalid.
            if response.status_code == document.get("error", {}).get("code") == HTTPStatus.NOT_FOUND:
                return None
            if response.status_code == HTTPStatus.OK:
                return _token_info(AccessInfoV3(document, token))
        except Exception as error:
            raise KeystoneUnavailable(str(error) or type(error).__name__) from error
        raise KeystoneUnavailable(f"status {response.status_code} for the validation of a token")


class KeystoneAuthenticator(TokenAuthenticator):
    """Validates tokens with Keystone. Results are cached for some seconds, but not beyond the expiry of the token."""

    def __init__(self, header: str, client: TokenValidator, settings: Settings, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(header, f'Keystone uri="{settings.www_authenticate_uri or client.url}"', clock=clock)
        self._client = client
        self._cache_time = settings.token_cache_time
        self._threads = ThreadPoolExecutor(_MAX_CONCURRENCY, thread_name_prefix="keystone")
        self._validations: dict[bytes, asyncio.Task[Caller]] = {}
        self._check: asyncio.Task[None] | None = None  # the newest one
        self._check_expires_at = 0.0  # on the monotonic clock

    async def check(self) -> None:
        """Raise IdentityUnavailable unless Keystone validated the service's own token in the last seconds."""
        if self._check is None or (self._check.done() and self._clock.monotonic() >= self._check_expires_at):
            self._check_expires_at = self._clock.monotonic() + _CHECK_INTERVAL
            self._check = asyncio.create_task(self._call(_CHECK_TIMEOUT, self._client.check))
        await asyncio.shield(self._check)

    async def _validate(self, token: bytes) -> Caller:
        """Return the caller of a token. Concurrent requests with one token share its validation."""
        # Other requests may wait for the validation too, so a client that disconnects must not cancel it.
        return await asyncio.shield(self._validations.get(token) or self._start_validation(token))

    def _start_validation(self, token: bytes) -> asyncio.Task[Caller]:
        task = self._validations[token] = asyncio.create_task(self._ask_keystone(token))
        task.add_done_callback(lambda _: self._validations.pop(token))
        return task

    async def _ask_keystone(self, token: bytes) -> Caller:
        with self._observed():
            return self._cache(token, await self._token_info(token))

    async def _token_info(self, token: bytes) -> TokenInfo:
        if not _TOKEN_PATTERN.fullmatch(token):
            raise self.unauthorized()
        begin = self._clock.time()
        info = await self._call(_VALIDATION_TIMEOUT, self._client.validate, token.decode("ascii"))
        if info is None or info.expires_at <= self._clock.time():
            raise self.unauthorized()
        return info._replace(expires_at=min(info.expires_at, begin + self._cache_time))

    async def _call(self, timeout: float, function: Callable[..., T], *arguments: str) -> T:
        """Call a function of the client in a thread. Raises IdentityUnavailable."""
        run = partial(copy_context().run, function, *arguments)  # the thread's log lines need the request id
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.get_running_loop().run_in_executor(self._threads, run)
        except (KeystoneUnavailable, KeystoneConfigError) as error:
            raise IdentityUnavailable(str(error)) from error
        except TimeoutError as error:
            raise IdentityUnavailable(f"Keystone did not validate a token in {timeout} seconds") from error


def check_credentials() -> None:
    """Raise KeystoneConfigError if the service's own credentials are wrong. Log it if Keystone is unavailable."""
    try:
        KeystoneClient().authenticate()
    except KeystoneUnavailable as error:
        _log.warning("%s", error)


def has_admin_role(access: AccessInfo) -> bool:
    """Return whether a token has the admin role. Like oslo.policy, compare the names of roles without case."""
    return _ADMIN_ROLE in {name.lower() for name in access.role_names or []}


def _token_info(access: AccessInfoV3) -> TokenInfo:
    if access.expires is None:
        raise ValueError("the token has no expiry")
    project_id = normalize_project_id(access.project_id) if access.project_id else None
    is_admin = project_id is not None and has_admin_role(access)
    return TokenInfo(Caller(project_id, is_admin), access.expires.timestamp())
