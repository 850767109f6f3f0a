"""Lines are written in a thread, which may be blocked."""

import io
import os
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import pytest

from app.background_writer import BackgroundWriter, write_unbuffered


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


def test_text_beyond_the_bound_is_dropped_with_all_of_its_lines(reader: Reader, writer: BackgroundWriter) -> None:
    writer.put("first")
    assert reader.is_blocked.wait(20)
    for lines in ("1234\n123", "12345\n12345\n12345"):
        writer.put(lines, lines.count("\n") + 1)
    reader.is_read.set()
    writer.close()
    assert reader.text == "first\n1234\n123\n3 dropped\n"


def test_close_does_not_wait_for_a_blocked_stream(reader: Reader, writer: BackgroundWriter) -> None:
    writer.put("first")
    writer.close()
    assert reader.text == ""


class NonBlockingPipe(io.FileIO):
    """The sending end of a pipe, which stores what each write returned."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb")
        os.set_blocking(descriptor, False)
        self.is_full = Event()
        self.results: list[int | None] = []

    def write(self, data: Any) -> Any:
        """Write as much as fits."""
        self.results.append(super().write(data))
        if self.results[-1] is None:
            self.is_full.set()
        return self.results[-1]


def test_full_non_blocking_stream_is_written_when_it_is_read() -> None:
    receiving, sending = os.pipe()
    data, pipe = b"x" * 200_000, NonBlockingPipe(sending)
    with os.fdopen(receiving, "rb", buffering=0) as reader, io.TextIOWrapper(io.BufferedWriter(pipe)) as stream:
        thread = Thread(target=write_unbuffered, args=(stream, data))
        thread.start()
        assert pipe.is_full.wait(20)
        received = b""
        while len(received) < len(data):
            received += reader.read(100)
        thread.join()
    assert received == data
    assert pipe.results.count(None) <= len(pipe.results) / 2 + 1  # no retry before the stream has room
