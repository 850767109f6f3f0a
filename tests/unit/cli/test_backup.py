"""The commands `backup` and `restore`: their arguments and messages."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import cli
from app.catalog.engines import open_catalog
from tests.support.catalogs import exported_numbers
from tests.support.images import catalog_of, image

TERMINATED_WHILE_WRITING = """
import os, signal, sys
sys.addaudithook(lambda event, args: event == "os.rename" and os.kill(os.getpid(), signal.SIGTERM))
from app.cli import main
main(["backup", "b.db"])
"""

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command in a folder with a catalog, and returns its exit code and its last line."""
    catalog_of(tmp_path, image(1))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, catalog: str = "catalog.db") -> tuple[int, str]:
        result = CliRunner(env={"IMAGES_CATALOG": catalog}).invoke(cli.main, arguments, catch_exceptions=False)
        assert result.stdout == ""
        return result.exit_code, result.stderr.splitlines()[-1]

    return invoke


def test_backup_and_restore_state_what_they_did(run: Run, tmp_path: Path) -> None:
    code, line = run("backup", "b.db")
    assert (code, line) == (0, f"Backed up catalog.db to b.db: {Path('b.db').stat().st_size} bytes.")
    assert run("restore", "b.db", catalog="new/c.db") == (0, "Restored new/c.db from b.db.")
    assert exported_numbers(open_catalog(tmp_path / "new/c.db")) == [1]


def test_nothing_is_replaced_without_force(run: Run) -> None:
    run("backup", "b.db")
    assert run("backup", "b.db") == (1, "Error: 'b.db' exists: --force replaces it.")
    replaces = "Error: catalog.db exists: --force replaces everything that it contains. Back it up first."
    assert run("restore", "b.db") == (1, replaces)
    assert run("backup", "--force", "b.db")[0] == 0
    assert run("restore", "--force", "b.db") == (0, "Restored catalog.db from b.db.")


def test_what_is_no_regular_file_is_not_replaced(run: Run) -> None:
    os.mkfifo("pipe")
    assert run("backup", "--force", "pipe") == (1, "Error: 'pipe' is not a regular file.")
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("backup", "-"), "'-' is not the path of a file"),
        (("restore", "missing.db"), "File 'missing.db' does not exist."),
        (("backup", "."), "File '.' is a directory."),
    ],
)
def test_argument_that_is_not_the_path_of_a_file_is_rejected(
    run: Run, arguments: tuple[str, ...], problem: str
) -> None:
    assert run(*arguments) == (2, f"Error: Invalid value for 'FILE': {problem}")


def test_terminated_backup_leaves_no_file(tmp_path: Path) -> None:
    catalog_of(tmp_path, image(1))
    command = [sys.executable, "-c", TERMINATED_WHILE_WRITING]
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ | {"IMAGES_CATALOG": "catalog.db"}, check=False)
    assert ended.returncode == 128 + signal.SIGTERM
    assert [each.name for each in tmp_path.iterdir() if not each.name.startswith("catalog.db")] == []
