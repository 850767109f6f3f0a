"""A response store that counts its uses."""

from typing import NamedTuple

from app.middleware.response_cache import CacheKey, ResponseStore
from app.middleware.stored_response import StoredResponse


class CacheStats(NamedTuple):
    """How many responses came from a store or were passed to it, how many it has, and their memory."""

    hits: int
    misses: int
    entries: int
    bytes: int


class CountingStore(ResponseStore):
    """A response store that counts hits and misses."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._hits = self._misses = 0

    def stats(self) -> CacheStats:
        """Return the counts."""
        return CacheStats(self._hits, self._misses, self.entries, self.bytes)

    def lookup(self, key: CacheKey) -> StoredResponse | None:
        """Return a stored response, and count the hit."""
        response = super().lookup(key)
        self._hits += response is not None
        return response

    def store(self, key: CacheKey, response: StoredResponse) -> None:
        """Store a response, and count the miss."""
        self._misses += 1
        super().store(key, response)
