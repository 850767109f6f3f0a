"""The metrics that each worker records."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from app.context import NO_OPERATION, NOT_CACHED
from app.metrics.value_files import Value, ValueFiles

_SAMPLING_INTERVAL = 1  # seconds
# Upper bounds in seconds. A cached response takes a tenth of a millisecond, a slow query up to its time limit.
_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))


class _Metric(NamedTuple):
    name: str  # without the prefix of all metrics
    text: str


_REQUESTS = _Metric("requests", "Requests, by operation, status of the response, and result of the cache lookup.")
_DURATION = _Metric("request_duration_seconds", "Time to respond to a request, by operation.")
_CATALOG_VERSIONS = _Metric(
    "catalog_versions", "Changes of the catalog's version that workers have detected, each separately."
)
_VALIDATIONS = _Metric("token_validations", "Token validations, by result.")
_VALIDATION_DURATION = _Metric("token_validation_duration_seconds", "Time to validate a token that is not cached.")
IN_FLIGHT = _Metric("requests_in_flight", "Requests without a complete response, except those for metrics.")
CACHE_ENTRIES = _Metric("cache_entries", "Responses in the response caches.")
CACHE_BYTES = _Metric("cache_bytes", "Memory of the response caches.")
WRITES_WAITING = _Metric("writes_waiting", "Changes that wait for another change in their worker.")


class _Histogram(NamedTuple):
    """The values of a histogram: the sum, and how many observations each bucket has."""

    total: Value
    buckets: list[Value]

    def observe(self, seconds: float) -> None:
        """Add an observation."""
        self.total.add(seconds)
        self.buckets[bisect_left(_BOUNDS, seconds)].add()


class _ResponseValues(NamedTuple):
    """The values that a response changes, as positions in the memory of the counters and of the histograms."""

    counters: "memoryview[float]"
    requests: int
    validations: int | None  # if the response required a token
    histograms: "memoryview[float]"
    total: int
    buckets: list[int]


class Recorder:
    """Records the metrics of this process in a folder that all processes share."""

    def __init__(self, folder: Path, secured_operations: Collection[str]) -> None:
        """Set the folder, and the operations that require a token."""
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)  # something may have cleaned the folder of temporary files
        self._files = ValueFiles(folder)
        self._secured_operations = secured_operations
        self._responses: dict[tuple[str, int, str], _ResponseValues] = {}
        self._gauges: list[tuple[Value, Callable[[], float]]] = []
        self._validation_duration = self._histogram(_VALIDATION_DURATION)
        self._catalog_versions = self._counter(_CATALOG_VERSIONS)

    def record_response(self, operation: str, status: int, seconds: float, cache_result: str = "hit") -> None:
        """Record a response. Every cached response runs this, so it avoids calls of other methods."""
        key = (operation, status, cache_result)
        counters, requests, validations, histograms, total, buckets = self._responses.get(key) or self._bind(*key)
        counters[requests] += 1
        if validations:
            counters[validations] += 1
        histograms[total] += seconds
        histograms[buckets[bisect_left(_BOUNDS, seconds)]] += 1

    def record_rejection(self, status: int) -> None:
        """Record a response to a request that did not reach the application."""
        self._counter(_REQUESTS, operation=NO_OPERATION, status=str(int(status)), cache=NOT_CACHED).add()

    def record_validation(self, result: str, seconds: float | None) -> None:
        """Record the validation of a token, and its duration unless its result was cached."""
        self._counter(_VALIDATIONS, result=result).add()
        if seconds is not None:
            self._validation_duration.observe(seconds)

    def record_catalog_version(self) -> None:
        """Record that the version of the catalog has changed."""
        self._catalog_versions.add()

    def watch(self, gauge: _Metric, read: Callable[[], float]) -> None:
        """Sample a gauge regularly, with a function that returns its value."""
        self._gauges.append((self._value("gauge_livesum", gauge), read))

    def sample(self) -> None:
        """Record the current values of the gauges."""
        for value, read in self._gauges:
            value.set(read())

    async def keep_sampling(self) -> None:
        """Sample the gauges until the task is cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLING_INTERVAL)

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _bind(self, operation: str, status: int, cache_result: str) -> _ResponseValues:
        validations = None
        if cache_result == "hit" and operation in self._secured_operations:  # its token's validation was cached, too
            validations = self._counter(_VALIDATIONS, result="cached").position
        requests = self._counter(_REQUESTS, operation=operation, status=str(status), cache=cache_result)
        total, buckets = self._histogram(_DURATION, operation=operation)
        positions = [each.position for each in buckets]
        values = _ResponseValues(
            requests.memory, requests.position, validations, buckets[-1].memory, total.position, positions
        )
        self._responses[operation, status, cache_result] = values
        return values

    def _counter(self, metric: _Metric, **labels: str) -> Value:
        return self._value("counter", metric, "_total", **labels)

    def _histogram(self, metric: _Metric, **labels: str) -> _Histogram:
        bounds = map(floatToGoString, _BOUNDS)
        return _Histogram(
            self._value("histogram", metric, "_sum", **labels),
            [self._value("histogram", metric, "_bucket", **labels, le=each) for each in bounds],
        )

    def _value(self, type_: str, metric: _Metric, suffix: str = "", **labels: str) -> Value:
        name = f"compute_images_{metric.name}"
        return self._files.value(type_, name, name + suffix, labels, metric.text)
