"""Load from wrk."""

import itertools
import math
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

from tests.bench import BenchError
from tests.bench.servers import HOST, Server

_SCRIPT = Path(__file__).with_name("vary.lua")
_MAX_REQUESTS = 10_000_000  # of one run
_run = itertools.count(1)


class Effort(NamedTuple):
    """How many rounds are measured, and how long each at least.

    wrk does not count responses that are incomplete when it ends. To keep this error small for slow servers, each
    connection has time for several requests (`turns`).
    """

    rounds: int
    seconds: int
    turns: int = 4
    connections: int = 16


class Load(NamedTuple):
    """The result of a run."""

    rate: float  # responses per second
    cpu: float  # CPU time of all processes of the server for each response, in µs


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def drive(server: Server, effort: Effort, targets: Sequence[str] = (), **headers: str) -> Load:
    """Send requests to a server for some seconds. Return the rate and the cost of its responses.

    Requests that vary are never repeated, not even in other runs. Raises BenchError if any request fails.
    """
    targets = targets or [server.spec.target]
    seconds = max(effort.seconds, _duration(server, targets[0], effort, headers))
    with NamedTemporaryFile("w", suffix=".targets") as file:
        file.write("\n".join(targets))
        file.flush()
        same = len(targets) == 1 and "{n}" not in targets[0]
        command = [
            *("wrk", "-t1", f"-c{effort.connections}", f"-d{seconds}s", "--timeout", "60s", "-H", f"Host: {HOST}"),
            *itertools.chain.from_iterable(
                ("-H", f"{name}: {value}") for name, value in {**server.spec.headers, **headers}.items()
            ),
            *(() if same else ("-s", str(_SCRIPT))),
            f"http://127.0.0.1:{server.port}{targets[0] if same else ''}",
            *(() if same else ("--", file.name, str(next(_run) * _MAX_REQUESTS))),
        ]
        before = server.await_idle()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    requests, rate = _results(server.spec.name, done)
    # When wrk ends, each connection waits for a response, which the server builds although wrk does not count it.
    return Load(rate, 1e6 * (server.await_idle() - before) / (requests + effort.connections))


def _duration(server: Server, target: str, effort: Effort, headers: dict[str, str]) -> int:
    """Estimate how many seconds all turns of all connections take, from the second of two requests."""
    varied = [target.replace("{n}", str(next(_run) * _MAX_REQUESTS)) for _ in range(2)]
    server.get(varied[0], **headers)
    begin = time.perf_counter()
    server.get(varied[1], **headers)
    return math.ceil((time.perf_counter() - begin) * effort.connections * effort.turns)


def _results(name: str, done: "subprocess.CompletedProcess[str]") -> tuple[int, float]:
    """Return the number of responses, and their rate."""
    requests = re.search(r"^ *([0-9]+) requests in ", done.stdout, re.MULTILINE)
    rate = re.search(r"^Requests/sec: +([0-9.]+)", done.stdout, re.MULTILINE)
    bad = re.search(r"^ *(Non-2xx or 3xx responses|Socket errors): .*", done.stdout, re.MULTILINE)
    if done.returncode or bad or not requests or not rate or not float(rate[1]):
        raise BenchError(f"{name}: wrk reports {bad[0].strip() if bad else done.stdout + done.stderr}")
    return int(requests[1]), float(rate[1])
