"""Parts of the application that tests, and a test double, can replace."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.api.operations import Operation, resolve_operation
from app.auth.base import TokenAuthenticator
from app.catalog.engine import Engine
from app.double.state import Double
from app.middleware.response_cache import ResponseStore
from app.timestamps import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from app.mirror.cloud import GlanceClientFactory


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """Replacements of parts of the application. None selects the real one."""

    clock: Clock = SYSTEM_CLOCK
    engine: Engine | None = None
    responses: ResponseStore | None = None
    authenticator: TokenAuthenticator | None = None
    glance_client_factory: "GlanceClientFactory | None" = None
    resolve_operation: Callable[[str], Operation] = resolve_operation
    double: Double | None = None


NO_OVERRIDES = Overrides()
