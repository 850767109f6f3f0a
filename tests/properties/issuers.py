"""Those who issue tokens to the callers of histories: the catalog, by the command's functions; a Keystone; nobody."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from math import inf
from pathlib import Path

from app.auth.base import Caller, TokenInfo
from app.auth.keystone import KeystoneUnavailable
from app.catalog.tokens import add_token, revoke_tokens
from app.timestamps import format_utc
from tests.properties.callers import ANYONE, AWAY, CALLERS, UNKNOWN, Callers, Clock, Standing
from tests.properties.histories import Judge, Reach, Step
from tests.properties.other_process import OtherProcess


class NoIssuer(Callers):
    """Nobody: no token is asked for."""

    names = ()

    def standing(self, token: str | None) -> Standing:  # noqa: ARG002 nobody looks at it
        """Let everybody do everything."""
        return ANYONE

    def issue(self, standing: Standing) -> str:
        """Issue none."""
        raise NotImplementedError

    def revoke(self, token: str, *, elsewhere: bool) -> None:
        """Have none to revoke."""
        raise NotImplementedError


class CatalogIssuer(Callers):
    """The catalog: what it says of a token holds from the next request on."""

    names = tuple(name for name, standing in CALLERS.items() if standing.project is not None)

    def __init__(self, clock: Clock, catalog: Path, other: OtherProcess) -> None:
        super().__init__(clock)
        self._catalog = catalog
        self._other = other
        self._standings: dict[str, Standing] = {}

    def standing(self, token: str | None) -> Standing:
        """Tell what the catalog says of it."""
        found = self._standings.get(token or "", UNKNOWN)
        return found if self.clock.now < found.end else UNKNOWN

    def restart(self) -> None:
        """Give everyone a new token, and to a forger one with the id of another."""
        super().restart()
        id_, _, secret = self.tokens["one"].rpartition("_")
        self.tokens["forger"] = f"{id_}_{secret[::-1]}"

    def issue(self, standing: Standing) -> str:
        """Make a token."""
        assert standing.project is not None
        expires = None if standing.end == inf else format_utc(datetime.fromtimestamp(standing.end, UTC))
        token = add_token(self._catalog, standing.project, is_admin=standing.is_admin, expires=expires)
        self._standings[token] = standing
        return token

    def revoke(self, token: str, *, elsewhere: bool) -> None:
        """Revoke a token, perhaps once more."""
        if self._standings.pop(token, None):
            ids = [token.split("_")[1]]
            if elsewhere:
                self._other(revoke_tokens, ids)
            else:
                revoke_tokens(self._catalog, ids)


class Cloud(Callers):
    """A cloud's Keystone, in the place of the one that the service asks: its mind changes with time."""

    names = tuple(CALLERS)
    url = "http://keystone.test/v3"

    def __init__(self, clock: Clock, interrupt: Callable[[str], None]) -> None:
        super().__init__(clock)
        self._interrupt = interrupt
        self._numbers = count()
        self._history: dict[str, list[tuple[int, Standing]]] = {}  # what was so of each token, from when on
        self._away_since: int | None = None

    def validate(self, token: str) -> TokenInfo | None:
        """Answer as `app.keystone.Keystone` does. That a token ended it does not notice, as one whose clock is slow."""
        self._interrupt("before the verdict")
        standing = self._said(token)
        self._interrupt("after the verdict")
        if standing == AWAY:
            raise KeystoneUnavailable("it is away")
        return None if standing == UNKNOWN else TokenInfo(Caller(standing.project, standing.is_admin), standing.end)

    def standing(self, token: str | None) -> Standing:
        """Tell what Keystone would say now."""
        said = self._said(token) if token else UNKNOWN
        return said if self.clock.now < said.end else UNKNOWN

    def lately(self, token: str | None, seconds: int) -> list[Standing]:
        """Tell what it would have said in the last seconds; but of no token that ended since."""
        history = self._history.get(token or "", [])
        answered = self.clock.now if self._away_since is None else self._away_since
        ends = [*(min(since, answered) for since, _ in history[1:]), answered]
        return [
            standing
            for (_, standing), end in zip(history, ends, strict=False)
            if end > self.clock.now - seconds and standing.status == 200 and self.clock.now < standing.end
        ]

    def restart(self) -> None:
        """Give everyone a new token, and a forger one that nobody issued."""
        self.step(Reach(reachable=True))
        super().restart()
        self.tokens["forger"] = "forged"

    def step(self, step: Step) -> None:
        """Do what a step does to tokens, to the time, or to Keystone."""
        match step:
            case Judge(name, project, is_admin):
                standing = self._history[self.tokens[name]][0][1]
                self._decide(self.tokens[name], standing._replace(project=project, is_admin=is_admin))
            case Reach(reachable):
                self._away_since = None if reachable else self.clock.now
            case _:
                super().step(step)

    def issue(self, standing: Standing) -> str:
        """Make a token."""
        token = f"token-{next(self._numbers)}"
        self._history[token] = [(self.clock.now, standing)]
        return token

    def revoke(self, token: str, *, elsewhere: bool) -> None:  # noqa: ARG002 Keystone is always elsewhere
        """Revoke a token, perhaps once more."""
        self._decide(token, UNKNOWN)

    def _decide(self, token: str, standing: Standing) -> None:
        self._history[token].append((self.clock.now, standing))

    def _said(self, token: str) -> Standing:
        if self._away_since is not None:
            return AWAY
        return self._history[token][-1][1] if token in self._history else UNKNOWN
