"""Two machines, sixteen clients, and a database that fails in many ways.

`python -m tests.integration.postgresql.fleet` prints the figures of all scenarios; `… steady promote` those of two.
"""

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.integration.postgresql import scenarios
from tests.integration.postgresql.machines import resources
from tests.integration.postgresql.scenarios import Figures
from tests.integration.postgresql.site import Site, site, small_disk


class Scenario(NamedTuple):
    """A scenario, and the site that it needs."""

    run: Callable[[Site], Figures]
    needs: dict[str, Any] = {"with_networks": True}  # noqa: RUF012 it is not changed
    needs_small_disk: bool = False


SCENARIOS = {
    "steady": Scenario(partial(scenarios.run_steadily, responses=100_000), {}),
    "restart": Scenario(partial(scenarios.restart, mode="fast"), {}),
    "immediate": Scenario(partial(scenarios.restart, mode="immediate"), {}),
    "promote": Scenario(scenarios.promote, {"standby": "synchronous"}),
    "lose-machine": Scenario(scenarios.lose_machine, {"standby": "synchronous", "with_networks": True}),
    "lose-tail": Scenario(scenarios.lose_tail, {"standby": "asynchronous"}),
    "kill-machine": Scenario(scenarios.kill_machine, {}),
    "terminate": Scenario(partial(scenarios.terminate_backends, times=20), {}),
    "terminate-writer": Scenario(scenarios.terminate_writer, {}),
    "silence-writers": Scenario(partial(scenarios.silence, machine=0)),
    "silence-readers": Scenario(partial(scenarios.silence, machine=1)),
    "refuse": Scenario(partial(scenarios.refuse, machine=1)),
    "slow": Scenario(partial(scenarios.slow_down, delay=0.05, requests=100)),
    "hang": Scenario(partial(scenarios.hang_writer, seconds=15), {}),
    "stop-writer": Scenario(scenarios.stop_writer, {}),
    "full-disk": Scenario(scenarios.fill_disk, {}, needs_small_disk=True),
    "connections": Scenario(
        scenarios.exhaust_connections, {"max_connections": 30, "superuser_reserved_connections": 10}
    ),
}


def main(*names: str) -> None:
    """Print the figures and the problems of the named scenarios, or of all."""
    if unknown := [name for name in names if name not in SCENARIOS]:
        sys.exit(f"{', '.join(unknown)}: unknown; the scenarios are {', '.join(SCENARIOS)}")
    for name in names or SCENARIOS:
        scenario = SCENARIOS[name]
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            tablespace = stack.enter_context(small_disk()) if scenario.needs_small_disk else None
            running = stack.enter_context(site(folder, tablespace=tablespace, **scenario.needs))
            services, problems = running.fleet.services, running.fleet.model.problems
            before = [resources(service) for service in services]
            figures = scenario.run(running)
            after = [resources(service) for service in services]
        figures |= {"machines before": "; ".join(before), "machines after": "; ".join(after), "problems": len(problems)}
        sys.stdout.write(f"{name}\n" + "".join(f"    {key}: {value}\n" for key, value in figures.items()))
        sys.stdout.write("".join(f"    {problem}\n" for problem in problems[:5]))
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
