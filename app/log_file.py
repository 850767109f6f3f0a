"""Log files that another program, such as logrotate, can rename while they are written."""

import logging
import os
from contextlib import closing
from io import FileIO
from weakref import WeakSet

from app.background_writer import write_raw

_PRIVATE = 0o600  # the mode of new files: the access log shows which projects use which images

_log = logging.getLogger(__name__)
_files: "WeakSet[LogFile]" = WeakSet()


class LogFile:
    """A file that lines are appended to. Several processes can append to the same file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self) -> None:
        """Open the file; create it if necessary. Raises OSError, also for a named pipe that nobody reads."""
        self._stream = _open(self._path)
        _files.add(self)

    def write(self, data: bytes) -> None:
        """Append data. Waits while the file is a named pipe that is full."""
        write_raw(self._stream, data)

    def close(self) -> None:
        """Close the file. No thread may be writing to it."""
        _files.discard(self)
        self._stream.close()

    def reopen(self) -> None:
        """Append to the file that is at the path now. A write in progress still goes to the old file."""
        try:
            with closing(_open(self._path)) as new:
                os.dup2(new.fileno(), self._stream.fileno(), inheritable=False)
        except OSError as error:
            _log.error("The log file cannot be reopened; the old one is still used: %s", error)


def reopen_log_files() -> None:
    """Reopen all log files that this process has opened."""
    for each in list(_files):
        each.reopen()


def _open(path: str) -> FileIO:
    """Open a file without a buffer, in non-blocking mode: a named pipe without a reader is an error."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, _PRIVATE)
    return FileIO(descriptor, "wb")
