"""Processes that end with the test run, however that ends."""

import shutil
from collections.abc import Sequence


def tethered(command: Sequence[str], *options: str, signal: str = "KILL") -> list[str]:
    """Return a command that runs another, to which Linux sends a signal when the thread that started it ends.

    A test run that is killed cannot stop its servers itself. Options are further ones of `setpriv`. On other systems,
    the command is returned unchanged.
    """
    setpriv = shutil.which("setpriv")
    return [*([setpriv, "--pdeathsig", signal, *options, "--"] if setpriv else []), *command]
