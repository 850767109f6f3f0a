"""The extra `postgres`: a URL needs it, and a catalog in a file does not."""

import subprocess
import sys
from pathlib import Path

from app.text import pip_command

WITHOUT_PSYCOPG = "import sys; sys.modules['psycopg'] = None; from app.cli import main; main()"


def run(catalog: str | Path, *arguments: str) -> tuple[int, str]:
    """Run a command where psycopg cannot be imported. Return the exit code and what it wrote."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_PSYCOPG, *arguments],
        env={"IMAGES_CATALOG": str(catalog)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def test_url_without_the_extra_is_reported_with_what_to_install() -> None:
    message = "IMAGES_CATALOG is a postgresql:// URL, which needs psycopg, which is not installed"
    assert run("postgresql://user:s3cret@host/images", "status") == (
        1,
        f"Error: {message}: {pip_command('postgres')}\n",
    )


def test_catalog_in_a_file_needs_no_extra(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.db"
    assert run(catalog, "migrate") == (0, f"Created {catalog}.\n")
