"""Measurements in rounds: all are made in turn, so that other load on the machine affects all."""

import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from tests.bench.wrk import Load

T = TypeVar("T")


def digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


class Cost(NamedTuple):
    """The cost of a response.

    Servers are compared by the least CPU time, because other load on the machine affects it much less than the rate.
    """

    cpu: float  # the least of all rounds, in µs
    median: float  # CPU time, in µs
    rate: float  # the median, per second

    def __str__(self) -> str:
        return f"{digits(self.cpu)} ({digits(self.median)}) µs {digits(self.rate):>8}/s"


Costs = Mapping[str, Cost]


def interleaved(runs: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run all in turn for some rounds. Return the results of each."""
    results: dict[str, list[T]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    return results


def medians(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Run all in turn for some rounds. Return the medians."""
    return {name: statistics.median(values) for name, values in interleaved(runs, rounds).items()}


def costs(runs: Mapping[str, Callable[[], Load]], rounds: int) -> Costs:
    """Load servers in turn for some rounds. Return what their responses cost."""
    return {name: _cost(loads) for name, loads in interleaved(runs, rounds).items()}


def _cost(loads: list[Load]) -> Cost:
    cpu = [load.cpu for load in loads]
    return Cost(min(cpu), statistics.median(cpu), statistics.median(load.rate for load in loads))
