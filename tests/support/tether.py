"""Processes that end with the test run, however that ends."""

import shutil
from collections.abc import Sequence


def tethered(command: Sequence[str]) -> list[str]:
    """Return a command that runs another, which Linux kills when the thread that started it ends.

    A test run that is killed cannot stop its servers itself. On other systems, the command is returned unchanged.
    """
    setpriv = shutil.which("setpriv")
    return [*([setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []), *command]
