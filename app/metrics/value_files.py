"""Values in the files of prometheus-client's multiprocess mode.

Each process writes files of its own, which a scrape of any process adds up. They are mapped into memory, so that they
hold every increment even if the process is killed. The library's own counters and histograms lock, look up the process
id and format each value again: those of one request would take a tenth of the time of a cached response.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from prometheus_client.mmap_dict import MmapedDict, mmap_key

_VALUE_BYTES = 8


class Value(NamedTuple):
    """A number in a file. An increment takes a tenth of a microsecond. Only one thread may write."""

    memory: "memoryview[float]"
    position: int

    def add(self, amount: float = 1) -> None:
        """Add to the value."""
        self.memory[self.position] += amount

    def set(self, value: float) -> None:
        """Replace the value."""
        self.memory[self.position] = value


class ValueFiles:
    """The files of this process, one for each type of metric: counter, histogram or gauge."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _ValueFile] = {}

    def value(self, type_: str, metric: str, sample: str, labels: Mapping[str, str], text: str) -> Value:
        """Return the value of a metric's sample, which is created if necessary; `text` explains the metric.

        The type of a gauge ends with how processes are combined, as in `gauge_livesum`.
        """
        if type_ not in self._files:
            self._files[type_] = _ValueFile.open(self._folder / f"{type_}_{os.getpid()}.db")
        return self._files[type_].value(mmap_key(metric, sample, list(labels), list(labels.values()), text))

    def close(self) -> None:
        """Close the files. Values that exist can still be changed."""
        for file in self._files.values():
            file.close()


class _ValueFile(MmapedDict):
    """The library's file, which gives access to its memory."""

    @classmethod
    def open(cls, path: Path) -> "_ValueFile":
        """Open a file. An earlier process with the same id may have left it; its values are continued."""
        if path.exists():
            return cls(str(path))
        new = path.with_suffix(".new")
        file = cls(str(new))
        new.rename(path)  # a scrape never finds an empty file, which the library cannot read
        return file

    def close(self) -> None:
        """Close the file, but not its memory, to which values refer."""
        self._f.close()

    def value(self, key: str) -> Value:
        self.read_value(key)  # type: ignore[no-untyped-call]  # creates it
        return Value(memoryview(self._m).cast("d"), self._positions[key] // _VALUE_BYTES)
