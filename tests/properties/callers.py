"""The callers of histories, and a model of what each may do at any moment: plain Python without code of the service."""

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from tests.properties.histories import Issue, Revoke, Step, Wait
from tests.support.clock import FakeClock
from tests.support.generator import PROJECTS
from tests.support.images import Fields
from tests.support.projects import SAMPLE_PROJECT

if TYPE_CHECKING:
    from app.auth.base import TokenAuthenticator
    from app.catalog.engine import Engine


class Standing(NamedTuple):
    """What a token permits: nothing, if the status is not 200."""

    status: int = 200
    project: str | None = None
    is_admin: bool = False
    end: float = inf

    def reads(self, project_id: str) -> int:
        """Return the status of a read of a project's images, as far as it depends on the caller."""
        if self.status != 200:
            return self.status
        return 200 if self.is_admin or self.project == project_id else 403

    def changes(self, project_id: str, image: Fields | None) -> int:
        """Return the status of a change of an image, None if the project cannot see it."""
        if self.reads(project_id) != 200:
            return self.reads(project_id)
        if image is None:
            return 404
        owner = image.get("owner")
        return 200 if owner == project_id or (owner is None and self.is_admin) else 403


UNAUTHENTICATED_ADMIN = Standing(is_admin=True)
UNKNOWN = Standing(401)
UNAVAILABLE = Standing(503)  # the identity service cannot be reached

CALLERS = {
    "one": Standing(project=PROJECTS[0]),
    "another of one": Standing(project=PROJECTS[0]),
    "two": Standing(project=PROJECTS[1]),
    "guest": Standing(project=SAMPLE_PROJECT),  # owns no image, and is a member of none
    "administrator": Standing(project=PROJECTS[0], is_admin=True),
    "someone without a project": Standing(),
}


class Callers(ABC):
    """The callers, their tokens, and what the tokens permit."""

    names: tuple[str, ...]  # of the callers that have tokens

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.tokens: dict[str, str] = {}

    @abstractmethod
    def authenticator(self, engine: "Engine", token_cache_time: int) -> "TokenAuthenticator | None":
        """Return the authenticator of a service that caches validations for some seconds."""

    @abstractmethod
    def standing(self, token: str | None) -> Standing:
        """Return what a token permits now."""

    def recent_standings(self, token: str | None, seconds: int) -> list[Standing]:  # noqa: ARG002 only Keystone's are cached
        """Return what else a token permitted in the last seconds, if services may still cache that."""
        return []

    def restart(self) -> None:
        """Issue a new token to each caller."""
        for name in self.names:
            self.step(Issue(name, lifetime=None))

    def step(self, step: Step) -> None:
        """Do a step that affects tokens or the time."""
        match step:
            case Wait(seconds):
                self.clock.advance(seconds)
            case Issue(name, lifetime):
                end = self.clock.time() + lifetime if lifetime else inf
                self.tokens[name] = self.issue(CALLERS[name]._replace(end=end))
            case Revoke(name, elsewhere):
                self.revoke(self.tokens[name], elsewhere=elsewhere)

    @abstractmethod
    def issue(self, standing: Standing) -> str:
        """Issue a token."""

    @abstractmethod
    def revoke(self, token: str, *, elsewhere: bool) -> None:
        """Revoke a token, which may be revoked already."""
