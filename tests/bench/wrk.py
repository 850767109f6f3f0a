"""Driving a server with wrk, over sixteen connections."""

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

_CONNECTIONS = 16
_SCRIPT = Path(__file__).with_name("vary.lua")
_MANY = 10_000_000  # requests, more than there can be in one run
_run = itertools.count(1)


class Effort(NamedTuple):
    """How much is measured: in how many rounds, and how long each time at least.

    wrk counts what is answered in its time, so that a slow server would lose what it has begun: every connection gets
    some turns, however long they take.
    """

    rounds: int
    seconds: int
    turns: int = 8


def missing() -> bool:
    """Tell whether there is no wrk on this machine."""
    return shutil.which("wrk") is None


def drive(server: Server, effort: Effort, targets: Sequence[str] = (), **headers: str) -> float:
    """Ask a server for some seconds. Give how many requests it answered in a second.

    What varies does so for good: no request of one run is made in another. Raises BenchError for any failed request.
    """
    targets = targets or [server.spec.target]
    seconds = max(effort.seconds, _duration(server, targets[0], effort.turns, headers))
    with NamedTemporaryFile("w", suffix=".targets") as file:
        file.write("\n".join(targets))
        file.flush()
        same = len(targets) == 1 and "{n}" not in targets[0]
        command = [
            *("wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--timeout", "60s", "-H", f"Host: {HOST}"),
            *itertools.chain.from_iterable(
                ("-H", f"{name}: {value}") for name, value in {**server.spec.headers, **headers}.items()
            ),
            *(() if same else ("-s", str(_SCRIPT))),
            f"http://127.0.0.1:{server.port}{targets[0] if same else ''}",
            *(() if same else ("--", file.name, str(next(_run) * _MANY))),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return _rate(server.spec.name, done)


def _duration(server: Server, target: str, turns: int, headers: dict[str, str]) -> int:
    """Say how long it takes until every connection had its turns, judged by one request after a first."""
    varied = [target.replace("{n}", str(next(_run) * _MANY)) for _ in range(2)]
    server.get(varied[0], **headers)
    begin = time.perf_counter()
    server.get(varied[1], **headers)
    return math.ceil((time.perf_counter() - begin) * _CONNECTIONS * turns)


def _rate(name: str, done: "subprocess.CompletedProcess[str]") -> float:
    rate = re.search(r"^Requests/sec: +([0-9.]+)", done.stdout, re.MULTILINE)
    bad = re.search(r"^ *(Non-2xx or 3xx responses|Socket errors): .*", done.stdout, re.MULTILINE)
    if done.returncode or bad or not rate or not float(rate[1]):
        raise BenchError(f"{name}: wrk says {bad[0].strip() if bad else done.stdout + done.stderr}")
    return float(rate[1])
