"""Writing images to standard output or to a file."""

import errno
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, SpooledTemporaryFile

import click

_MAX_MEMORY = 16_000_000  # bytes that are held in memory before they are moved to a file


def write_stdout(parts: Iterable[bytes]) -> None:
    """Write parts to standard output, once all have been collected. Raises ClickException."""
    try:
        with SpooledTemporaryFile(_MAX_MEMORY) as spool:
            for part in parts:  # writelines would hold all parts in memory before it looks at their size
                spool.write(part)
            spool.seek(0)
            shutil.copyfileobj(spool, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader closed the pipe, as `head` does: click exits without a message
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        raise click.ClickException(str(error)) from error


def write_file(path: Path, parts: Iterable[bytes]) -> None:
    """Write parts to a file that only its owner can read; it is replaced at the end, or not at all.

    Raises ClickException.
    """
    path = path.resolve()  # a symbolic link stays
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                for part in parts:
                    file.write(part)
                file.close()
                Path(file.name).replace(path)
            except BaseException:
                with suppress(OSError):
                    Path(file.name).unlink()
                raise
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from error
