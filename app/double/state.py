"""A test double: the parts of a service that a test can control."""

from collections import deque
from datetime import UTC, datetime
from itertools import count

from app.auth.optional_tokens import OptionalTokenAuthenticator
from app.catalog.documents import InvalidImageFile
from app.catalog.engine import WRITER_TIMEOUT, FileEngine
from app.catalog.executor import ReadExecutor
from app.catalog.image_files import GlanceConverter
from app.catalog.models import JsonObject, StoredImage
from app.catalog.tokens import add_token
from app.contract.document import Contract
from app.double.clock import AdjustableClock
from app.double.delays import Delays
from app.double.failures import FailurePlan
from app.double.images import complete_image, known_fields
from app.double.requests import RecordedRequest
from app.errors import InvalidBody
from app.timestamps import format_utc

_MAX_REQUESTS = 1000


class Double:
    """The state of a test double, in the memory of one process, with the contents of its catalog at the start."""

    def __init__(self, engine: FileEngine, reads: ReadExecutor, contract: Contract) -> None:
        """Copy the catalog, which `reset` restores. Raises CatalogUnavailable."""
        self._engine = engine
        self._restore = engine.copy_to_memory()
        self.clock = AdjustableClock()
        self.authenticator = OptionalTokenAuthenticator(reads, contract.token_header, clock=self.clock)
        self.delays = Delays()
        self.failures = FailurePlan(contract)
        self.requests = deque[RecordedRequest](maxlen=_MAX_REQUESTS)  # the last ones, in order of arrival
        self.page_size: int | None = None  # of lists for which a request states no limit
        self._numbers = count(1)

    def reset(self) -> None:
        """Restore the state at the start. Raises what a transaction raises."""
        self.delays.end()  # before the catalog changes: requests that still wait never reach it
        self._restore(WRITER_TIMEOUT)
        self.clock.reset()
        self.failures.clear()
        self.requests.clear()
        self.page_size = None
        self._numbers = count(1)

    def add_images(
        self, images: list[JsonObject], from_glance: GlanceConverter, *, strict: bool = True
    ) -> list[StoredImage]:
        """Add images, or change those whose ids the catalog has.

        With `strict`, a field that image files do not have is an error; otherwise it is left out. Raises InvalidBody,
        and what a transaction raises.
        """
        added = []
        with self._engine.transaction(timeout=WRITER_TIMEOUT) as transaction:
            for index, image in enumerate(images):
                try:
                    fields = known_fields(image, from_glance, strict=strict)
                    stored = complete_image(transaction, fields, self._numbers, self.clock)
                except InvalidImageFile as error:
                    raise InvalidBody(f"images[{index}]: {error}") from None
                transaction.upsert_images([stored])
                added.append(stored)
        return added

    def add_token(
        self, project: str, *, admin: bool = False, expires: str | None = None, expires_in: int | None = None
    ) -> str:
        """Add a token, which expires at a time or after so many seconds, and return its text."""
        if expires_in is not None:
            expires = format_utc(datetime.fromtimestamp(self.clock.time() + expires_in, UTC))
        return add_token(self._engine, project, is_admin=admin, expires=expires, clock=self.clock)
