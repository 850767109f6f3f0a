"""The report of Schemathesis: one event in each line, some with requests."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from tests.support.images import Fields


class FuzzedRequest(NamedTuple):
    """A generated request, the status of its response, and the checks of the response."""

    phase: str
    operation: str
    caller: str | None  # the user whose token it has
    is_valid: bool  # whether it was generated to conform to the contract
    status: int
    checks: frozenset[str]


def read_report(report: Path) -> list[FuzzedRequest]:
    events = [orjson.loads(line) for line in report.read_bytes().splitlines()]
    return [request for event in events for request in _requests(event.get("ScenarioFinished", {}))]


def _requests(scenario: Fields) -> Iterator[FuzzedRequest]:
    recorded = scenario.get("recorder", {})
    for case_id, interaction in recorded.get("interactions", {}).items():
        if interaction["response"]:
            case = recorded["cases"][case_id]["value"]
            yield FuzzedRequest(
                scenario["phase"],
                f"{case['method']} {case['path']}",
                case.get("auth_identity"),
                "meta" in case and case["meta"]["generation"]["mode"] == "positive",
                interaction["response"]["status_code"],
                frozenset(check["name"] for check in recorded["checks"].get(case_id, [])),
            )
