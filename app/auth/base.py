"""Authentication of callers: none, or by token."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from starlette.types import Scope

from app.catalog.models import Version
from app.context import ANONYMOUS, UNAUTHENTICATED_ADMIN, Caller
from app.errors import Unauthorized
from app.timestamps import SYSTEM_CLOCK, Clock


class TokenInfo(NamedTuple):
    """The result of a token's validation, and until when it may be cached (Unix time)."""

    caller: Caller
    expires_at: float


# Is called with the result of a validation ("cached", "valid", "invalid" or "error") and its duration in seconds, which
# is None if the result was cached.
ValidationObserver = Callable[[str, float | None], None]


class Authenticator(ABC):
    """Determines the callers of requests."""

    header = b""  # the name of the token's header in lower case; no request has a header without a name
    default_caller: Caller | None = None  # the caller of a request that was not authenticated

    def token_of(self, scope: Scope) -> str:
        """Return the token of a request. Repeated headers are joined by commas, which no valid token contains."""
        return ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == self.header)

    @abstractmethod
    def cached_caller(self, token: bytes, version: Version | None) -> Caller | None:
        """Return the cached caller of a token, or None if it has to be validated.

        `version` is the catalog's version, None if the catalog is unavailable.
        """

    @abstractmethod
    async def authenticate(self, token: bytes) -> Caller:
        """Return the caller of a token. Raises Unauthorized, and IdentityUnavailable."""

    async def check(self) -> None:  # noqa: B027 only Keystone can be unavailable while the catalog is not
        """Raise IdentityUnavailable unless tokens can be validated, apart from the state of the catalog."""


class NoAuthenticator(Authenticator):
    """Disables authentication: tokens are ignored."""

    default_caller: Caller | None = UNAUTHENTICATED_ADMIN

    def cached_caller(self, token: bytes, version: Version | None) -> Caller:  # noqa: ARG002 both are irrelevant
        """Return the caller of all requests."""
        return UNAUTHENTICATED_ADMIN

    async def authenticate(self, token: bytes) -> Caller:  # noqa: ARG002 it is irrelevant
        """Return the caller of all requests."""
        return UNAUTHENTICATED_ADMIN


class TokenAuthenticator(Authenticator):
    """Authenticates by token, and caches the results of validations until they expire."""

    max_cached_tokens = 10_000  # of one worker

    def __init__(self, header: str, challenge: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Set the name of the token's header, and the challenge that is sent with a 401."""
        self.header = header.lower().encode("ascii")
        self._header = header
        self._challenge = challenge
        self._clock = clock
        self._cached: dict[bytes, TokenInfo] = {}
        self.on_validation: ValidationObserver = lambda _result, _seconds: None

    def cached_caller(self, token: bytes, version: Version | None) -> Caller | None:
        """Return the cached caller of a token, ANONYMOUS without a token, None if it has to be validated."""
        if not token:
            return ANONYMOUS
        info = self._cached.get(token)
        return info.caller if info and self._clock.time() < info.expires_at and self._is_current(version) else None

    def _is_current(self, version: Version | None) -> bool:  # noqa: ARG002 only some token caches depend on it
        """Return whether the cached validations hold for this version of the catalog."""
        return True

    async def authenticate(self, token: bytes) -> Caller:
        """Return the caller of a token. Raises Unauthorized without a token too."""
        if not token:
            raise self.unauthorized(f"Header {self._header!r} is missing; it has to contain a token")
        caller = self.cached_caller(token, await self._current_version())
        if caller is None:
            return await self._validate(token)
        self.on_validation("cached", None)
        return caller

    async def _current_version(self) -> Version | None:
        """Return the version of the catalog, if the cached validations depend on it. Raises CatalogUnavailable."""
        return None

    @abstractmethod
    async def _validate(self, token: bytes) -> Caller:
        """Return the caller of a token that is not cached, and cache it. Raises as `authenticate` does."""

    @contextmanager
    def _observed(self) -> Iterator[None]:
        """Report the result and the duration of a validation."""
        begin, result = self._clock.monotonic(), "error"
        try:
            yield
            result = "valid"
        except Unauthorized:
            result = "invalid"
            raise
        finally:
            self.on_validation(result, self._clock.monotonic() - begin)

    def unauthorized(self, problem: str = "The token is invalid or expired") -> Unauthorized:
        """Build the error for a 401 response. The default message does not disclose why a token was rejected."""
        return Unauthorized(f"{problem}.", self._challenge)

    def _cache(self, token: bytes, info: TokenInfo) -> Caller:
        """Cache a validation. When the cache is full, the oldest validation is evicted."""
        self._cached.pop(token, None)
        while len(self._cached) >= self.max_cached_tokens:
            del self._cached[next(iter(self._cached))]
        self._cached[token] = info
        return info.caller
