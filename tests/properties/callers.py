"""Who calls in the histories, and what each of them may at any moment: in plain Python, with no code of the service."""

from abc import ABC, abstractmethod
from math import inf
from typing import NamedTuple

from tests.properties.histories import Issue, Pass, Revoke, Step
from tests.support.generator import GUEST, TENANTS
from tests.support.images import Fields


class Standing(NamedTuple):
    """What a token is good for: with any other status than 200, for nothing."""

    status: int = 200
    project: str | None = None
    is_admin: bool = False
    end: float = inf

    def reads(self, tenant: str) -> int:
        """Give the status of a read of a tenant's images, as far as it depends on who is calling."""
        if self.status != 200:
            return self.status
        return 200 if self.is_admin or self.project == tenant else 403

    def changes(self, tenant: str, image: Fields | None) -> int:
        """Give the status of a change of an image, or of none that the tenant sees."""
        if self.reads(tenant) != 200:
            return self.reads(tenant)
        if image is None:
            return 404
        owner = image.get("owner")
        return 200 if owner == tenant or (owner is None and self.is_admin) else 403


ANYONE = Standing(is_admin=True)
UNKNOWN = Standing(401)
AWAY = Standing(503)  # nobody can tell

CALLERS = {
    "one": Standing(project=TENANTS[0]),
    "another of one": Standing(project=TENANTS[0]),
    "two": Standing(project=TENANTS[1]),
    "guest": Standing(project=GUEST),  # who owns nothing, and whom nothing is shared with
    "administrator": Standing(project=TENANTS[0], is_admin=True),
    "someone without a project": Standing(),
}


class Clock:
    """The time, in the place of the module that tells it."""

    def __init__(self) -> None:
        self.now = 2_000_000_000

    def time(self) -> float:
        """Tell the time as the module does."""
        return float(self.now)


class Callers(ABC):
    """Those who call, their tokens, and what these are good for."""

    names: tuple[str, ...]  # whose tokens are issued

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.tokens: dict[str, str] = {}

    @abstractmethod
    def standing(self, token: str | None) -> Standing:
        """Tell what a token is good for now."""

    def lately(self, token: str | None, seconds: int) -> list[Standing]:  # noqa: ARG002 most are not believed in
        """Tell what else it was good for in the last seconds, and may be believed to be still."""
        return []

    def restart(self) -> None:
        """Give each of them a new token."""
        for name in self.names:
            self.step(Issue(name, lasts=None))

    def step(self, step: Step) -> None:
        """Do what a step does to tokens, or to the time."""
        match step:
            case Pass(seconds):
                self.clock.now += seconds
            case Issue(name, lasts):
                self.tokens[name] = self.issue(CALLERS[name]._replace(end=self.clock.now + lasts if lasts else inf))
            case Revoke(name, elsewhere):
                self.revoke(self.tokens[name], elsewhere=elsewhere)

    @abstractmethod
    def issue(self, standing: Standing) -> str:
        """Make a token."""

    @abstractmethod
    def revoke(self, token: str, *, elsewhere: bool) -> None:
        """Revoke a token, perhaps once more."""
