"""The comparison of the engines runs, and measures every row. The results are not tested."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.bench.postgresql import SECTIONS
from tests.bench.servers import ROOT
from tests.support.packages import Missing
from tests.support.postgresql import programs

ROWS = {
    "cached": ["7 images, SQLite", "7 images, PostgreSQL", "1000 images, SQLite", "1000 images, PostgreSQL"],
    "pages": ["20 of 1,000, SQLite", "1000 of 1,000, PostgreSQL"],
    "imports": ["the first 100, PostgreSQL", "100 on top of 1,000, PostgreSQL"],
    "machines": ["two machines"],
    "distant": ["median, PostgreSQL", "99th percentile, PostgreSQL"],
}


@pytest.fixture(scope="module")
def cache() -> Iterator[str]:
    """Return a folder for catalogs, which PostgreSQL can enter as another user."""
    try:
        programs()
    except Missing as missing:
        pytest.skip(str(missing))
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield folder


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed.")
@pytest.mark.parametrize("section", SECTIONS)
def test_short_run_prints_every_row(section: str, cache: str) -> None:
    options = ["--only", section, "--rounds", "1", "--seconds", "1", "--images", "1000", "--imported", "100"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.postgresql", *options, "--cache", cache],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert [row for row in ROWS[section] if f"\n  {row}" not in done.stdout] == []
