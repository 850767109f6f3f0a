"""The memory of a worker."""

import asyncio
import ctypes
import os
from pathlib import Path

import pytest
from uvicorn import Config

from app.server.backpressure import Buffers
from app.server.worker import WorkerServer

_BLOCK = 50_000  # bytes: small enough that the GNU C Library keeps it when it is freed


def _resident() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only the GNU C Library has malloc_trim")
def test_freed_memory_between_objects_in_use_is_returned() -> None:
    server = WorkerServer(Config(""), Buffers(), master=os.getppid())
    blocks = [os.urandom(_BLOCK) for _ in range(1000)]
    del blocks[::2]
    before = _resident()
    assert not asyncio.run(server.on_tick(1))
    assert before - _resident() > _BLOCK * len(blocks) / 2
