"""The benchmark runs, and measures all that it should. How fast anything is, is not tested."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.servers import ROOT

ROWS = [
    *("ceiling", "kept answer", "304", "not kept", "Connexion + Flask", "FastAPI", "Datasette", "Prism"),
    *("first page", "filtered page (name)", "page from the middle", "empty changes-since poll"),
    *("import, the first", "import, 1,000 on top of", "memory after", "start to first answer", "a pass over all"),
]


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
def test_it_measures_all_and_draws_it(tmp_path: Path) -> None:
    drawn = tmp_path / "chart.svg"
    done = _bench("--short", "--chart", str(drawn))
    assert done.returncode == 0, done.stderr
    for row in ROWS:
        assert f"\n  {row}" in done.stdout
    assert drawn.read_text().startswith("<svg")


def test_it_says_that_there_is_no_wrk(tmp_path: Path) -> None:
    done = _bench("--short", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "apt-get install wrk" in done.stderr
