"""A copy of this machine on which recipes run as they are written: its files and its network are its own."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from tests.integration.server.service import until
from tests.support.checkout import CHECKOUT, copy_sources
from tests.support.packages import CACHE, Missing, install
from tests.support.tether import tethered

_PROGRAMS = ("curl", "ip", "nsenter", "openssl", "setpriv", "unshare")
_TIMEOUT = 100  # seconds
_PYTHON = "/usr/bin/python3"  # as on a machine of users: services cannot run an interpreter in a home directory
_INSTALLATION = (
    "PIP_NO_INDEX=1",
    "PIP_FIND_LINKS=/wheels",
    "PIP_NO_COMPILE=1",
    "PATH=/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin:/bin:/sbin",
)
# $1/root becomes the root, with changes in memory; $2 is the checkout, $3 a folder with wheels.
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
exec chroot "$1/root" sh -c "echo ready; exec sleep infinity"
"""
# systemd as the first process, which starts nothing by itself.
_SYSTEMD = """
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /sys
mount -t proc proc /proc
mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
printf '[Unit]\nDescription=Nothing\n' >/etc/systemd/system/nothing.target
rm -rf /etc/systemd/system/*.wants /lib/systemd/system/*.wants
exec env container=lxc /lib/systemd/systemd --unit=nothing.target
"""
_CONFINE = """
for folder in $WRITABLE; do mount --bind "$folder" "$folder"; done
mount -o remount,bind,ro /
exec "$@"
"""


def wheels() -> Path:
    """Return a folder with the wheels of all dependencies. Raises Missing."""
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    project, tools = settings["project"], settings["build-system"]["requires"]
    extras = project["optional-dependencies"]
    names = [*project["dependencies"], *extras["keystone"], *extras["postgres"], *tools]

    probe = [_PYTHON, "-c", "import ensurepip, sys; print('{}.{}'.format(*sys.version_info))"]
    try:
        version = subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"{_PYTHON} with venv is not installed") from error

    def download_into(folder: Path) -> None:
        options = f"--quiet --only-binary :all: --python-version {version}".split()
        install(sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), *names)

    return CACHE.get([f"wheels {version} {sha256(str(names).encode()).hexdigest()[:12]}"], download_into)


class Machine:
    """A running copy."""

    def __init__(self, folder: Path) -> None:
        """Start it. Raises Missing where that is impossible."""
        missing = [name for name in _PROGRAMS if not shutil.which(name)]
        if missing or os.getuid() != 0:
            raise Missing(f"{', '.join(missing) or 'The user root'} is missing")
        copy_sources(folder / "checkout")
        (folder / "machine").mkdir()
        arguments = [str(folder / "machine"), str(folder / "checkout"), str(wheels())]
        command = tethered(["unshare", "--mount", "--net", "bash", "-ec", _BOOT, "boot", *arguments])
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            self._process.communicate()
            raise Missing("mounting file systems is not allowed here")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, script: str) -> str:
        """Run a script in /src, as root, and return its output. pip installs from the folder of wheels."""
        return _output(self._entered("/src", [*_INSTALLATION, "bash", "-ec", script]))

    def fetch(self, url: str, *options: str) -> Any:
        """Return the JSON document at a URL, once a server listens there."""
        command = shlex.join(["curl", "-s", "--max-time", "20", *options, url])
        return json.loads(self.run(f"timeout 60 bash -c {shlex.quote(f'until {command}; do sleep 0.1; done')}"))

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, and create their folders."""
        for name, content in files.items():
            self.run(f"mkdir -p $(dirname {name}) && cat > {name} <<'END'\n{content}END")

    @contextmanager
    def running(self, command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
        """Run a command, as root, until the end of the block."""
        entered = self._entered("/", command)
        with subprocess.Popen(entered, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/") as process:
            try:
                yield process
            finally:
                process.terminate()

    @contextmanager
    def systemd(self) -> Iterator[Callable[[str], str]]:
        """Run systemd until the end of the block. Yields a function that runs a script there and returns its output."""
        isolated = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child"]
        with self.running([*isolated, "bash", "-ec", _SYSTEMD]) as process:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

            def run(script: str) -> str:
                target = ["--target", children.read_text().strip(), "--all", "--root"]
                return _output(tethered(["nsenter", *target, "env", "--chdir=/", "bash", "-ec", script]))

            try:
                until(lambda: children.read_text() != "")
                until(lambda: run("systemctl show --property Version || true").startswith("Version="))
                yield run
            finally:
                process.kill()  # unshare ignores SIGTERM; its child, systemd, ends with it

    def _entered(self, folder: str, command: Sequence[str]) -> list[str]:
        target = ["--target", str(self._process.pid), "--mount", "--net", "--root"]
        return tethered(["nsenter", *target, "env", f"--chdir={folder}", *command])


def _output(command: Sequence[str]) -> str:
    """Return the output of a command. Fails if the command fails."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_TIMEOUT,
        cwd="/",
    )
    assert done.returncode == 0, (command, done.stdout)
    return done.stdout


def confined(command: Sequence[str], environ: Mapping[str, str], *, user: str, writable: str) -> list[str]:
    """Return a command that runs another as a user without privileges, who can write to some folders only.

    The user is USER:GROUP; folders are separated by spaces.
    """
    uid, gid = user.split(":")
    as_user = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs"]
    dropped = ["--bounding-set", "-all", "--inh-caps", "-all", "--pdeathsig", "KILL"]
    words = ["env", "-i", *(f"{name}={value}" for name, value in environ.items()), *as_user, *dropped, *command]
    return ["env", f"WRITABLE={writable}", "unshare", "--mount", "bash", "-ec", _CONFINE, "bash", *words]
