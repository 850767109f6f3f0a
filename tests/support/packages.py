"""Tools that tests need and the project does not: each in a folder of its own, made once and kept between runs."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir, mkdtemp

_FOLDER = Path(gettempdir()) / "compute-images-tests"


class Missing(Exception):
    """A tool that cannot be had here, and why."""


def kept(packages: Sequence[str], make: Callable[[Path], None]) -> Path:
    """Give the folder of some packages, which name their versions. Raises Missing."""
    link = _FOLDER / "+".join(re.sub(r"[^\w.]+", "-", package).strip("-") for package in packages)
    if not link.exists():
        _FOLDER.mkdir(exist_ok=True)
        folder = Path(mkdtemp(prefix=f"{link.name}.", dir=_FOLDER))
        try:
            make(folder)
        except BaseException:
            shutil.rmtree(folder)
            raise
        # What is found under the name is whole. The folder itself is not renamed: the commands of a virtual
        # environment know where they were installed.
        pointer = folder.with_name(f"{folder.name}.link")
        pointer.symlink_to(folder.name)
        pointer.replace(link)
    return link


def environment(*packages: str, constraints: Path | None = None) -> Path:
    """Give a virtual environment that has some packages from PyPI. Raises Missing.

    A file of constraints may tell their versions, and those of what they need.
    """
    options = ["--constraint", str(constraints)] if constraints else []
    versions = [f"constraints {sha256(constraints.read_bytes()).hexdigest()[:8]}"] if constraints else []

    def make(folder: Path) -> None:
        install(sys.executable, "-m", "venv", str(folder))
        install(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *options, *packages)

    return kept([*packages, *versions], make)


def install(*command: str) -> None:
    """Run an installer. Raises Missing where it fails."""
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise Missing(f"there is no {command[0]}") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()
        raise Missing(f"{Path(command[0]).name} could not install {command[-1]}: {said[-200:]!r}") from error
