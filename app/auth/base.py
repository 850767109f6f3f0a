"""Who is calling: nobody asks, or a token tells."""

import time
from abc import ABC, abstractmethod
from typing import NamedTuple

from starlette.types import Scope

from app.catalog.models import Version
from app.errors import ProjectMismatch, Unauthorized
from app.text import normalize_project_id

_MAX_CACHED_TOKENS = 10_000  # verdicts that a worker remembers


class Caller(NamedTuple):
    """Who is calling: a tenant or none, in the form that tenants are compared in; perhaps an administrator."""

    tenant: str | None
    is_admin: bool

    def check(self, tenant: str) -> None:
        """Raise OtherTenant unless the caller may speak for the tenant."""
        if not self.is_admin and self.tenant != normalize_project_id(tenant):
            raise ProjectMismatch(self.tenant, tenant)


UNAUTHENTICATED_ADMIN = Caller(
    None, is_admin=True
)  # where nobody is asked, whoever calls may do what an administrator may
ANONYMOUS = Caller(None, is_admin=False)  # who sends no token


class TokenInfo(NamedTuple):
    """Who gives a token, and until when that may be believed: in seconds since 1970."""

    caller: Caller
    until: float


class Authenticator(ABC):
    """How it is known who is calling."""

    header = b""  # the one that has the token, in lower case; none has this name

    def token(self, scope: Scope) -> str:
        """Give the token that was sent with a request: of two, nobody can say which is meant, and both are none."""
        return ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == self.header)

    @abstractmethod
    def known(self, token: bytes, version: Version | None) -> Caller | None:
        """Tell who gives a token, where that needs no asking while the catalog is of this version."""

    @abstractmethod
    async def identify(self, token: bytes) -> Caller:
        """Find out who gives a token. Raises Unauthorized, and IdentityUnavailable where that cannot be told."""

    @abstractmethod
    def caller(self, scope: Scope) -> Caller:
        """Tell who was found to send a request. Raises KeyError where nobody looked."""


class NoAuthenticator(Authenticator):
    """Nobody is asked for a token, and none is looked at."""

    def known(self, token: bytes, version: Version | None) -> Caller:  # noqa: ARG002 that is the point
        """Know everybody."""
        return UNAUTHENTICATED_ADMIN

    async def identify(self, token: bytes) -> Caller:  # noqa: ARG002 likewise
        """Know everybody."""
        return UNAUTHENTICATED_ADMIN

    def caller(self, scope: Scope) -> Caller:  # noqa: ARG002 likewise
        """Know everybody."""
        return UNAUTHENTICATED_ADMIN


class TokenAuthenticator(Authenticator):
    """A token tells; what it told is remembered for as long as it may be believed."""

    def __init__(self, header: str, challenge: str) -> None:
        """Take the header that has the token, and what a caller without a good one is told of how to get one."""
        self.header = header.lower().encode("ascii")
        self._header = header
        self._challenge = challenge
        self._verdicts: dict[bytes, TokenInfo] = {}

    def known(self, token: bytes, version: Version | None) -> Caller | None:
        """Tell who gives a token: nobody gives none."""
        if not token:
            return ANONYMOUS
        verdict = self._verdicts.get(token)
        return verdict.caller if verdict and time.time() < verdict.until and self._holds(version) else None

    def _holds(self, version: Version | None) -> bool:  # noqa: ARG002 not all depend on it
        """Tell whether verdicts hold while the catalog is of this version."""
        return True

    def caller(self, scope: Scope) -> Caller:
        """Tell whom security let through."""
        return scope["state"]["caller"]  # type: ignore[no-any-return]

    async def identify(self, token: bytes) -> Caller:
        """Find out who gives a token, if one is given at all."""
        if not token:
            raise self.refused(f"The header {self._header} is missing; it takes a token")
        return await self._identify(token)

    @abstractmethod
    async def _identify(self, token: bytes) -> Caller:
        """Find out who gives a token. Raises as `identify` does."""

    def refused(self, problem: str = "The token is not known, or no longer") -> Unauthorized:
        """Make what a caller is told who has no good token: of why it is none, nothing unless told."""
        return Unauthorized(f"{problem}.", self._challenge)

    def _remember(self, token: bytes, verdict: TokenInfo) -> Caller:
        """Remember a verdict, and forget the one that was found first where there are many."""
        self._verdicts.pop(token, None)
        while len(self._verdicts) >= _MAX_CACHED_TOKENS:
            del self._verdicts[next(iter(self._verdicts))]
        self._verdicts[token] = verdict
        return verdict.caller
