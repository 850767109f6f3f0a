"""The metrics of all processes, from the files that they write. Files of processes that have ended are merged.

Otherwise each of them would make scrapes slower.
"""

import fcntl
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

_ENTRY_BYTES = 28  # of an entry in a file in addition to its key, at most
_HEADER_BYTES = 8


class ProcessCollector(Collector):
    """Adds up the files of all processes, while none of them is merged."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        with _locked(self._folder, fcntl.LOCK_SH):
            metrics: Iterable[Metric] = self._files.collect()
        return metrics


def remove_process(folder: Path, pid: int, running: Collection[int]) -> None:
    """Remove the gauges of a process that has ended, and merge its other values with those of earlier ones.

    If a scrape reads the files now, or the disk is full, they are merged when the next process ends.
    """
    mark_process_dead(pid, str(folder))
    with suppress(OSError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        for type_ in ("counter", "histogram"):
            names = {f"{type_}_{each}.db" for each in running}
            _merge([file for file in folder.glob(f"{type_}_*.db") if file.name not in names], folder / f"{type_}_0.db")


def _merge(files: Collection[Path], merged: Path) -> None:
    """Replace files by one with the sums of their values."""
    sums = defaultdict[str, float](float)
    for file in files:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(file):
            sums[key] += value
    new = merged.with_suffix(".new")
    # Written first, because a full disk raises an error here, but would end the process when it writes to the memory.
    new.write_bytes(bytes(_HEADER_BYTES + sum(len(key) + _ENTRY_BYTES for key in sums)))
    values = MmapedDict(str(new))
    for key, value in sums.items():
        values.write_value(key, value, 0.0)
    values.close()
    new.rename(merged)
    for file in files:
        if file != merged:
            file.unlink()


@contextmanager
def _locked(folder: Path, mode: int) -> Iterator[None]:
    """Lock the folder. Raises OSError if that is impossible without waiting, and the mode excludes it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, mode)
        yield
    finally:
        os.close(descriptor)
