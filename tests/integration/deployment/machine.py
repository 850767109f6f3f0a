"""A copy of this machine on which recipes run as they are written: its files and its network are its own."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Self

from tests.support.checkout import CHECKOUT, copy_sources
from tests.support.packages import CACHE, Missing, install
from tests.support.tether import tethered

_PROGRAMS = ("curl", "ip", "nsenter", "openssl", "setpriv", "unshare")
_TIMEOUT = 100  # seconds
_PYTHON = f"{sys.base_prefix}/bin"
# The interpreter is that of the tests, for which the wheels are.
_INSTALLATION = (
    "PIP_NO_INDEX=1",
    "PIP_FIND_LINKS=/wheels",
    "PIP_NO_COMPILE=1",
    f"PATH={_PYTHON}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)
# $1/root becomes the root, with changes in memory; $2 is the checkout, $3 a folder with wheels. All users can reach the
# interpreter, in the folders $4.
_BOOT = """
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
mount --bind /dev "$1/root/dev"
mkdir "$1/root/src" "$1/root/wheels"
cp -r "$2/." "$1/root/src"
mount --bind "$3" "$1/root/wheels"
ip link set lo up
for folder in $4; do chmod a+rx "$1/root$folder"; done
exec chroot "$1/root" sh -c "echo ready; exec sleep infinity"
"""
_CONFINE = """
for folder in $WRITABLE; do mount --bind "$folder" "$folder"; done
for folder in $TEMPORARY; do mount -t tmpfs tmpfs "$folder"; done
mount -o remount,bind,ro /
exec "$@"
"""


def wheels() -> Path:
    """Return a folder with the wheels of all dependencies. Raises Missing."""
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    project, tools = settings["project"], settings["build-system"]["requires"]
    names = [*project["dependencies"], *project["optional-dependencies"]["keystone"], *tools]

    def download_into(folder: Path) -> None:
        install(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *names)

    return CACHE.get([f"wheels {sha256(str(names).encode()).hexdigest()[:12]}"], download_into)


class Machine:
    """A running copy."""

    def __init__(self, folder: Path) -> None:
        """Start it. Raises Missing where that is impossible."""
        missing = [name for name in _PROGRAMS if not shutil.which(name)]
        if missing or os.getuid() != 0:
            raise Missing(f"{', '.join(missing) or 'The user root'} is missing")
        copy_sources(folder / "checkout")
        (folder / "machine").mkdir()
        parents = " ".join(str(each) for each in [Path(_PYTHON), *Path(_PYTHON).parents])
        arguments = [str(folder / "machine"), str(folder / "checkout"), str(wheels()), parents]
        command = tethered(["unshare", "--mount", "--net", "bash", "-ec", _BOOT, "boot", *arguments])
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            raise Missing("mounting file systems is not allowed here")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, script: str) -> str:
        """Run a script in /src, as root, and return its output. pip installs from the folder of wheels."""
        done = subprocess.run(
            self._entered("/src", [*_INSTALLATION, "bash", "-ec", script]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )
        assert done.returncode == 0, (script, done.stdout)
        return done.stdout

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, and create their folders."""
        for name, content in files.items():
            self.run(f"mkdir -p $(dirname {name}) && cat > {name} <<'END'\n{content}END")

    @contextmanager
    def running(self, command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
        """Run a command, as root, until the end of the block."""
        entered = self._entered("/", command)
        with subprocess.Popen(entered, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                yield process
            finally:
                process.terminate()

    def _entered(self, folder: str, command: Sequence[str]) -> list[str]:
        target = ["--target", str(self._process.pid), "--mount", "--net", "--root"]
        return tethered(["nsenter", *target, "env", f"--chdir={folder}", *command])


def confined(
    command: Sequence[str], environ: Mapping[str, str], *, user: str, writable: str, temporary: str = ""
) -> list[str]:
    """Return a command that runs another as a user without privileges, who can write to some folders only.

    The user is USER:GROUP; folders are separated by spaces.
    """
    uid, gid = user.split(":")
    as_user = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs"]
    dropped = ["--bounding-set", "-all", "--inh-caps", "-all", "--pdeathsig", "KILL"]
    words = ["env", "-i", *(f"{name}={value}" for name, value in environ.items()), *as_user, *dropped, *command]
    mounts = ["env", f"WRITABLE={writable}", f"TEMPORARY={temporary}"]
    return [*mounts, "unshare", "--mount", "bash", "-ec", _CONFINE, "bash", *words]
