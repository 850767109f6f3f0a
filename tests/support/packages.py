"""Packages that only tests need. Each set is installed once, into a folder that later runs reuse."""

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir, mkdtemp


class Missing(Exception):
    """Packages cannot be installed here."""


class PackageCache:
    """A folder with sets of packages. Each set is installed as a whole, even if runs are killed or run side by side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._failures: dict[str, Missing] = {}

    def get(self, packages: Sequence[str], install_into: Callable[[Path], None]) -> Path:
        """Return the folder of packages, which are installed if need be. Their names include versions.

        Raises Missing, without another try after the first.
        """
        name = "+".join(re.sub(r"[^\w.]+", "-", package).strip("-") for package in packages)
        link = self._folder / name
        if name in self._failures:
            raise self._failures[name]
        if not link.exists():
            self._folder.mkdir(exist_ok=True)
            with (self._folder / f".{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be installing them
                if not link.exists():
                    self._install(link, install_into)
        return link

    def _install(self, link: Path, install_into: Callable[[Path], None]) -> None:
        """Install into a new folder, and create the link when it is complete.

        The folder itself cannot be renamed: the commands of a virtual environment contain its path.
        """
        for incomplete in self._folder.glob(f"{link.name}~*"):  # of a run that was killed
            shutil.rmtree(incomplete)
        folder = Path(mkdtemp(prefix=f"{link.name}~", dir=self._folder))
        sys.stderr.write(f"Installing {link.name} into {folder}, for this and later runs.\n")
        try:
            install_into(folder)
        except BaseException as error:
            shutil.rmtree(folder)
            if isinstance(error, Missing):
                self._failures[link.name] = error
            raise
        link.symlink_to(folder.name)


CACHE = PackageCache(Path(gettempdir()) / "compute-images-tests")


def environment(*packages: str, constraints: Path | None = None) -> Path:
    """Return a virtual environment that has packages from PyPI. Raises Missing.

    A constraints file can pin them and their dependencies.
    """
    options = ["--constraint", str(constraints)] if constraints else []
    versions = [f"constraints {sha256(constraints.read_bytes()).hexdigest()[:8]}"] if constraints else []

    def install_into(folder: Path) -> None:
        install(sys.executable, "-m", "venv", str(folder))
        install(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *options, *packages)

    return CACHE.get([*packages, *versions], install_into)


def install(*command: str) -> None:
    """Run the command of a package manager. Raises Missing if it is not there or fails."""
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise Missing(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        output = (error.stderr or error.stdout).strip()
        raise Missing(f"{Path(command[0]).name} could not install {command[-1]}: {output[-200:]!r}") from error
