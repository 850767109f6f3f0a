"""Tools that only tests need. Each is installed once, into a folder that is reused between runs."""

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
    """A tool cannot be installed here."""


def cached(packages: Sequence[str], install_into: Callable[[Path], None]) -> Path:
    """Return the folder of packages, which are installed if need be. Their names include versions. Raises Missing."""
    link = _FOLDER / "+".join(re.sub(r"[^\w.]+", "-", package).strip("-") for package in packages)
    if not link.exists():
        _FOLDER.mkdir(exist_ok=True)
        folder = Path(mkdtemp(prefix=f"{link.name}.", dir=_FOLDER))
        try:
            install_into(folder)
        except BaseException:
            shutil.rmtree(folder)
            raise
        # The link appears when the folder is complete. The folder itself cannot be renamed: the commands of a virtual
        # environment contain its path.
        pointer = folder.with_name(f"{folder.name}.link")
        pointer.symlink_to(folder.name)
        pointer.replace(link)
    return link


def environment(*packages: str, constraints: Path | None = None) -> Path:
    """Return a virtual environment that has packages from PyPI. Raises Missing.

    A constraints file can pin them and their dependencies.
    """
    options = ["--constraint", str(constraints)] if constraints else []
    versions = [f"constraints {sha256(constraints.read_bytes()).hexdigest()[:8]}"] if constraints else []

    def install_into(folder: Path) -> None:
        install(sys.executable, "-m", "venv", str(folder))
        install(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *options, *packages)

    return cached([*packages, *versions], install_into)


def install(*command: str) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise Missing(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        output = (error.stderr or error.stdout).strip()
        raise Missing(f"{Path(command[0]).name} could not install {command[-1]}: {output[-200:]!r}") from error
