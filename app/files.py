"""The files that commands write."""

import stat
from pathlib import Path

from app.errors import DomainError
from app.text import quote


class FileNotReplaced(DomainError):
    """A command would have to replace a file that it must not replace."""

    def __init__(self, file: Path, problem: str) -> None:
        """Set the problem, which continues the sentence after the name of the file."""
        super().__init__(f"{quote(str(file))} {problem}.")


def require_replaceable(file: Path, *, replace: bool) -> None:
    """Raise FileNotReplaced for a path that cannot be a file's, and for an existing file unless `replace` is set."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileNotReplaced(file, f"cannot be written: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise FileNotReplaced(file, "is not a regular file")
    if not replace:
        raise FileNotReplaced(file, "exists: --force replaces it")
