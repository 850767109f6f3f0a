"""The issuers of tokens in histories: the catalog, a fake Keystone, or none."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from math import inf

from app.auth.base import TokenInfo
from app.auth.catalog_tokens import CatalogTokenAuthenticator
from app.auth.keystone import KeystoneAuthenticator, KeystoneUnavailable
from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.executor import ReadExecutor
from app.catalog.tokens import add_token, revoke_tokens
from app.context import Caller
from app.settings import Settings
from app.timestamps import format_utc
from tests.properties.callers import CALLERS, UNAUTHENTICATED_ADMIN, UNAVAILABLE, UNKNOWN, Callers, Standing
from tests.properties.histories import Reassign, SetReachable, Step
from tests.properties.other_process import OtherProcess
from tests.support.clock import FakeClock

Interrupt = Callable[[str], None]


class NoIssuer(Callers):
    """No issuer: services require no token."""

    names = ()

    def authenticator(self, engine: Engine, token_cache_time: int) -> None:
        """Return none."""

    def standing(self, token: str | None) -> Standing:  # noqa: ARG002 tokens are ignored
        """Return what all callers may do."""
        return UNAUTHENTICATED_ADMIN

    def issue(self, standing: Standing) -> str:
        """Issue no token."""
        raise NotImplementedError

    def revoke(self, token: str, *, elsewhere: bool) -> None:
        """Revoke no token."""
        raise NotImplementedError


class CatalogIssuer(Callers):
    """The catalog: a change of its tokens takes effect with the next request."""

    names = tuple(name for name, standing in CALLERS.items() if standing.project is not None)

    def __init__(self, clock: FakeClock, catalog: str, other: OtherProcess, interrupt: Interrupt) -> None:
        super().__init__(clock)
        self._engine = open_catalog(catalog)
        self._other = other
        self._interrupt = interrupt
        self._standings: dict[str, Standing] = {}

    def authenticator(self, engine: Engine, token_cache_time: int) -> CatalogTokenAuthenticator:  # noqa: ARG002
        """Return an authenticator that can be interrupted."""
        authenticator = _CatalogTokenAuthenticator(ReadExecutor(engine, 10), "X-Auth-Token", clock=self.clock)
        authenticator.interrupt = self._interrupt
        return authenticator

    def standing(self, token: str | None) -> Standing:
        """Return what the token permits according to the catalog."""
        standing = self._standings.get(token or "", UNKNOWN)
        return standing if self.clock.time() < standing.end else UNKNOWN

    def restart(self) -> None:
        """Issue a new token to each caller, and forge one with the id of another."""
        super().restart()
        id_, _, secret = self.tokens["one"].rpartition("_")
        self.tokens["forger"] = f"{id_}_{secret[::-1]}"

    def issue(self, standing: Standing) -> str:
        """Add a token to the catalog."""
        assert standing.project is not None
        expires = None if standing.end == inf else format_utc(datetime.fromtimestamp(standing.end, UTC))
        token = add_token(self._engine, standing.project, is_admin=standing.is_admin, expires=expires)
        self._standings[token] = standing
        return token

    def revoke(self, token: str, *, elsewhere: bool) -> None:
        """Revoke a token in this process or in the other one."""
        if self._standings.pop(token, None):
            ids = [token.split("_")[1]]
            if elsewhere:
                self._other(_revoke, ids)
            else:
                revoke_tokens(self._engine, ids)


def _revoke(catalog: str, ids: list[str]) -> None:
    revoke_tokens(open_catalog(catalog), ids)


class _CatalogTokenAuthenticator(CatalogTokenAuthenticator):
    """An authenticator that is interrupted before authentication, and before and after the validation."""

    interrupt: Interrupt

    async def authenticate(self, token: bytes) -> Caller:
        """Return the caller of a token."""
        self.interrupt("before authentication")
        return await super().authenticate(token)

    def _look_up(self, token: bytes) -> TokenInfo:
        self.interrupt("before validation")
        try:
            return super()._look_up(token)
        finally:
            self.interrupt("after validation")


class Cloud(Callers):
    """A fake Keystone: services cache its validations for some seconds."""

    names = tuple(CALLERS)
    url = "http://keystone.test/v3"

    def __init__(self, clock: FakeClock, interrupt: Interrupt) -> None:
        super().__init__(clock)
        self._interrupt = interrupt
        self._numbers = count()
        self._history: dict[str, list[tuple[float, Standing]]] = {}  # of each token: standings, and since when
        self._unavailable_since: float | None = None

    def authenticator(self, engine: Engine, token_cache_time: int) -> KeystoneAuthenticator:  # noqa: ARG002
        """Return an authenticator that can be interrupted."""
        settings = Settings(token_cache_time=token_cache_time)
        authenticator = _KeystoneAuthenticator("X-Auth-Token", self, settings, clock=self.clock)
        authenticator.interrupt = self._interrupt
        return authenticator

    def check(self) -> None:
        """Succeed."""

    def validate(self, token: str) -> TokenInfo | None:
        """Validate a token as KeystoneClient does. An expired token is valid, as for a Keystone whose clock is slow."""
        self._interrupt("before validation")
        standing = self._current(token)
        self._interrupt("after validation")
        if standing == UNAVAILABLE:
            raise KeystoneUnavailable("connection refused")
        return None if standing == UNKNOWN else TokenInfo(Caller(standing.project, standing.is_admin), standing.end)

    def standing(self, token: str | None) -> Standing:
        """Return what the token permits now."""
        standing = self._current(token) if token else UNKNOWN
        return standing if self.clock.time() < standing.end else UNKNOWN

    def recent_standings(self, token: str | None, seconds: int) -> list[Standing]:
        """Return what the token permitted in the last seconds, unless it expired since."""
        history, now = self._history.get(token or "", []), self.clock.time()
        available_until = now if self._unavailable_since is None else self._unavailable_since
        ends = [*(min(since, available_until) for since, _ in history[1:]), available_until]
        return [
            standing
            for (_, standing), end in zip(history, ends, strict=False)
            if end > now - seconds and standing.status == 200 and now < standing.end
        ]

    def restart(self) -> None:
        """Issue a new token to each caller, and forge one."""
        self.step(SetReachable(reachable=True))
        super().restart()
        self.tokens["forger"] = "forged"

    def step(self, step: Step) -> None:
        """Do a step that affects tokens, the time, or Keystone."""
        match step:
            case Reassign(name, project, is_admin):
                standing = self._history[self.tokens[name]][0][1]
                self._set(self.tokens[name], standing._replace(project=project, is_admin=is_admin))
            case SetReachable(reachable):
                self._unavailable_since = None if reachable else self.clock.time()
            case _:
                super().step(step)

    def issue(self, standing: Standing) -> str:
        """Issue a token."""
        token = f"token-{next(self._numbers)}"
        self._history[token] = [(self.clock.time(), standing)]
        return token

    def revoke(self, token: str, *, elsewhere: bool) -> None:  # noqa: ARG002 Keystone is another process anyway
        """Revoke a token."""
        self._set(token, UNKNOWN)

    def _set(self, token: str, standing: Standing) -> None:
        self._history[token].append((self.clock.time(), standing))

    def _current(self, token: str) -> Standing:
        if self._unavailable_since is not None:
            return UNAVAILABLE
        return self._history[token][-1][1] if token in self._history else UNKNOWN


class _KeystoneAuthenticator(KeystoneAuthenticator):
    """An authenticator that is interrupted before authentication."""

    interrupt: Interrupt

    async def authenticate(self, token: bytes) -> Caller:
        """Return the caller of a token."""
        self.interrupt("before authentication")
        return await super().authenticate(token)
