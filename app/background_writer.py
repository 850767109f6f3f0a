"""Writes lines in a thread, so that a slow reader of them does not block the service."""

import time
from collections.abc import Callable
from contextlib import suppress
from selectors import EVENT_WRITE, DefaultSelector
from threading import Event, Lock, Thread
from typing import Any, TextIO

MAX_BYTES = 4_000_000
_CLOSE_TIMEOUT = 1  # seconds


class BackgroundWriter:
    """Writes lines to a stream that may block. Lines beyond the bound are dropped, counted, and reported.

    Lines that arrive within the gathering time, in seconds, are written together.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        format_dropped: Callable[[int], str],
        *,
        gathering_time: float = 0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._write = write
        self._format_dropped = format_dropped
        self._gathering_time = gathering_time
        self._max_bytes = max_bytes
        self._texts: list[str] = []
        self._size = self._dropped = 0  # characters of the queued texts; number of dropped lines
        self._lock = Lock()
        self._has_lines = Event()
        self._is_closed = False
        self._thread = Thread(target=self._run, name="background-writer", daemon=True)  # a write may block forever

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if it was started before."""
        self._thread.start()

    def put(self, text: str, lines: int = 1) -> None:
        """Queue a text, which consists of `lines` lines. If it exceeds the bound, drop it and count its lines."""
        with self._lock:
            if self._size + len(text) > self._max_bytes:
                self._dropped += lines
                return
            self._texts.append(text)
            self._size += len(text)
        if not self._has_lines.is_set():
            self._has_lines.set()

    def close(self) -> bool:
        """Write all lines, unless the stream blocks, and end the thread. Return whether it has ended."""
        self._is_closed = True
        self._has_lines.set()
        self._thread.join(_CLOSE_TIMEOUT)
        return not self._thread.is_alive()

    def _run(self) -> None:
        is_closed = False
        while not is_closed:
            self._has_lines.wait()
            self._has_lines.clear()
            time.sleep(self._gathering_time)
            is_closed = self._is_closed
            self._write(self._take().encode(errors="backslashreplace"))

    def _take(self) -> str:
        """Return the lines that wait, and the report of those that were dropped after them."""
        with self._lock:
            texts, dropped = self._texts, self._dropped
            self._texts, self._size, self._dropped = [], 0, 0
        if dropped:
            texts.append(self._format_dropped(dropped))
        return "\n".join([*texts, ""])


def write_unbuffered(stream: TextIO, data: bytes) -> None:
    """Write without Python's own buffer, whose lock would block the end of the process."""
    write_raw(getattr(stream.buffer, "raw", stream.buffer), data)


def write_raw(raw: Any, data: bytes) -> None:
    """Write to a binary stream without a buffer."""
    with suppress(OSError):  # the service continues even if the reader of the log has ended
        while data:
            written = raw.write(data)
            if written is None:  # a non-blocking stream is full
                with DefaultSelector() as selector:
                    selector.register(raw, EVENT_WRITE)
                    selector.select()
            else:
                data = data[written:]
