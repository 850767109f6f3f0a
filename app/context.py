"""The context of a request: its id, its token and its caller."""

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from starlette.types import Scope

from app.errors import ProjectMismatch
from app.text import normalize_project_id

_GLOBAL_REQUEST_ID = re.compile(b"req-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}")  # as in oslo


class Caller(NamedTuple):
    """The project that a request acts for, by its normalized id, and whether as an administrator."""

    project_id: str | None
    is_admin: bool

    def require_project(self, project_id: str) -> None:
        """Raise ProjectMismatch unless the caller may act for the project."""
        if not self.is_admin and self.project_id != normalize_project_id(project_id):
            raise ProjectMismatch(self.project_id, project_id)


NO_OPERATION = "other"  # of a request that has none of the contract: another path or method, or malformed
NOT_CACHED = "none"  # the result of the response cache for a response that it cannot store
UNAUTHENTICATED_ADMIN = Caller(None, is_admin=True)  # without authentication, every caller is an administrator
BEGIN = "begin"  # the key, in the state of a request, of the time (perf_counter) when its processing began
ANONYMOUS = Caller(None, is_admin=False)  # a request without a token


@dataclass(slots=True)
class RequestContext:
    """The state of a request that several layers share. Authentication sets the token and the caller."""

    request_id: str
    token: str = ""
    authenticated: Caller | None = None
    is_fresh: bool = True  # the catalog is not a stale replica
    is_validated: bool = False  # the response conforms to the contract
    headers: Iterable[tuple[bytes, bytes]] = ()  # of the request
    operation: str = NO_OPERATION  # the operationId
    arguments: dict[str, Any] = field(default_factory=dict)  # of the operation, as validation parsed them
    cache_result: str = NOT_CACHED  # or "hit" or "miss"
    begin: float = field(default_factory=perf_counter)  # when the processing of the request began

    @property
    def caller(self) -> Caller:
        """The authenticated caller. Raises RuntimeError without one, as for an operation that requires no token."""
        if self.authenticated is None:
            raise RuntimeError("The operation needs a caller, but the contract does not require a token for it.")
        return self.authenticated

    @classmethod
    def of(cls, scope: Scope) -> "RequestContext":
        """Return the context that RequestIdMiddleware put into the scope."""
        return scope["state"]["context"]  # type: ignore[no-any-return]


def find_global_request_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the id by which a client follows its requests to several services, or None if it sent no valid one."""
    ids = [value for name, value in headers if name == b"x-openstack-request-id"]
    return ids[0].decode() if len(ids) == 1 and _GLOBAL_REQUEST_ID.fullmatch(ids[0]) else None


current_request: ContextVar[RequestContext] = ContextVar("current_request")
