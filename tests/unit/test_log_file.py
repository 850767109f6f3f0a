"""Log files, which can be renamed and reopened while they are written."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.log_file import LogFile, reopen_log_files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def file(path: Path) -> Iterator[LogFile]:
    opened = LogFile(str(path))
    opened.open()
    yield opened
    opened.close()


def test_new_file_is_private_and_an_existing_one_is_appended_to(path: Path, file: LogFile) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("first\n")
    path.chmod(0o644)
    file.write(b"second\n")
    reopen_log_files()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("first\nsecond\n", 0o644)


def test_reopened_file_is_the_one_at_the_path(path: Path, file: LogFile) -> None:
    file.write(b"1\n")
    path.rename(path.with_suffix(".1"))
    file.write(b"2\n")
    reopen_log_files()
    file.write(b"3\n")
    assert (path.with_suffix(".1").read_text(), path.read_text()) == ("1\n2\n", "3\n")


def test_file_that_cannot_be_reopened_is_still_used(
    path: Path, file: LogFile, caplog: pytest.LogCaptureFixture
) -> None:
    path.rename(path.with_suffix(".1"))
    path.mkdir()
    reopen_log_files()
    file.write(b"1\n")
    assert path.with_suffix(".1").read_text() == "1\n"
    assert [each.levelno for each in caplog.records] == [logging.ERROR]


def test_named_pipe_is_opened_only_if_it_is_read(path: Path) -> None:
    os.mkfifo(path)
    file = LogFile(str(path))
    with pytest.raises(OSError, match="No such device or address"):
        file.open()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reader:
        file.open()
        file.write(b"1\n")
        assert reader.read() == b"1\n"
        file.close()
