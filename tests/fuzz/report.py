"""What Schemathesis reports of the requests that it made up: one event a line, of which some hold what was asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from tests.support.images import Fields


class Made(NamedTuple):
    """A request that was made up, the status of its answer, and the checks of that."""

    phase: str
    operation: str
    caller: str | None  # whose token it has
    is_good: bool  # whether it is meant to be as the contract says
    status: int
    checks: frozenset[str]


def read(report: Path) -> list[Made]:
    """Read all that was made up and answered."""
    events = [orjson.loads(line) for line in report.read_bytes().splitlines()]
    return [made for event in events for made in _made(event.get("ScenarioFinished", {}))]


def _made(scenario: Fields) -> Iterator[Made]:
    recorded = scenario.get("recorder", {})
    for case_id, interaction in recorded.get("interactions", {}).items():
        if interaction["response"]:
            case = recorded["cases"][case_id]["value"]
            yield Made(
                scenario["phase"],
                f"{case['method']} {case['path']}",
                case.get("auth_identity"),
                "meta" in case and case["meta"]["generation"]["mode"] == "positive",
                interaction["response"]["status_code"],
                frozenset(check["name"] for check in recorded["checks"].get(case_id, [])),
            )
