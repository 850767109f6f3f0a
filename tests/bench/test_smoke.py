"""The benchmark runs, and measures every row. The results are not tested."""

import importlib.util
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.bench.__main__ import SECTIONS
from tests.bench.peers.prism import prism
from tests.bench.pythons import current, environment
from tests.bench.servers import ROOT
from tests.integration.openstack.component import installed

pytestmark = pytest.mark.external(install=[installed, prism, partial(environment, current())])

SERVICE = [
    *(
        "constant bytes",
        "cached  ",
        "cached, with the access log",
        "cached, with metrics",
        "cached, with tokens",
        "304",
    ),
    *("new  ", "new, with the access log", "new, with metrics", "new, with tokens"),
]
PEERS = ["Connexion + Flask", "FastAPI with a response model"]
ROWS = {
    "sample": [*SERVICE, *PEERS, "Datasette", "Prism"],
    "small-pages": ["new", *PEERS],
    "pages": [*SERVICE, "new, one page for 50 projects in turn", *PEERS, "Datasette"],
    "slow-reads": ["query: two filters", "cached, no other client", "cached, 4 clients send: two filters"],
    "growth": ["first page", "filtered page (name)", "page from the middle", "empty changes-since poll"],
    "import": ["import, the first", "import, 1,000 on top of"],
    "memory": ["memory after"],
    "start": ["start to first response"],
    "python": ["cached, Python 3", "new, Python 3"],
    "mirror": ["full sync without changes", "incremental sync without changes"],
}


def _missing() -> str:
    programs = [name for name in ("wrk", "npm") if not shutil.which(name)]
    return ", ".join(programs + [name for name in ("fastapi", "datasette") if not importlib.util.find_spec(name)])


def _bench(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *options],
        cwd=ROOT,
        env=environment or None,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.skipif(bool(_missing()), reason=f"Missing: {_missing()}.")
@pytest.mark.parametrize("section", SECTIONS)
def test_short_run_prints_every_row_and_writes_the_chart(tmp_path: Path, section: str) -> None:
    chart = tmp_path / "chart.svg"
    done = _bench("--short", "--only", section, "--chart", str(chart))
    assert done.returncode == 0, done.stderr
    assert [row for row in ROWS[section] if f"\n  {row}" not in done.stdout] == []
    assert chart.exists() == (section in {"sample", "pages"})


def test_missing_wrk_is_an_error(tmp_path: Path) -> None:
    done = _bench("--short", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "apt-get install wrk" in done.stderr
