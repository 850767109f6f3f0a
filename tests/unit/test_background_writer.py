"""Lines are written in a thread, which may be blocked."""

from collections.abc import Iterator
from threading import Event

import pytest

from app.background_writer import BackgroundWriter


class Reader:
    """A stream that blocks until it is read."""

    def __init__(self) -> None:
        self.is_read = Event()
        self.is_blocked = Event()
        self.text = ""

    def write(self, data: bytes) -> None:
        """Block, then store the data."""
        self.is_blocked.set()
        assert self.is_read.wait(20)
        self.text += data.decode()


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.is_read.set()


@pytest.fixture
def writer(reader: Reader) -> BackgroundWriter:
    made = BackgroundWriter(reader.write, lambda count: f"{count} dropped", max_bytes=10)
    made.start()
    return made


def test_close_writes_all_lines(reader: Reader, writer: BackgroundWriter) -> None:
    reader.is_read.set()
    for number in range(5):
        writer.put(f"{number}\ud800")
    writer.close()
    assert reader.text == "".join(f"{number}\\ud800\n" for number in range(5))


def test_lines_beyond_the_bound_are_dropped_and_counted(reader: Reader, writer: BackgroundWriter) -> None:
    writer.put("first")
    assert reader.is_blocked.wait(20)
    for line in ("12345", "123456", "1234", "12", "1"):
        writer.put(line)
    reader.is_read.set()
    writer.close()
    assert reader.text == "first\n12345\n1234\n1\n2 dropped\n"


def test_close_does_not_wait_for_a_blocked_stream(reader: Reader, writer: BackgroundWriter) -> None:
    writer.put("first")
    writer.close()
    assert reader.text == ""
