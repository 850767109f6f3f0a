"""The results as a table."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tests.bench.peers.prism import VERSION
from tests.bench.wrk import Effort

_PACKAGES = ("connexion", "flask", "gunicorn", "uvicorn", "uvicorn-worker", "fastapi", "pydantic", "datasette")
_HEAD = ("", "measured", "against", "", "target", "")


class Target(NamedTuple):
    """The least or the greatest value that a result should have."""

    value: float
    unit: str = ""
    most: bool = False  # whether the value is the greatest allowed, not the least

    def is_met(self, value: float) -> bool:
        """Return whether a result meets the target."""
        return value <= self.value if self.most else value >= self.value

    def __str__(self) -> str:
        return f"{'at most' if self.most else 'at least'} {self.value:,g}{self.unit}"


class Row(NamedTuple):
    """A line of the table. `compared` is compared with the target: the ratio to `against`, if there is one."""

    name: str
    measured: str
    against: str = ""
    compared: float | None = None
    target: Target | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the cells."""
        ratio = f"{self.compared:.2f}" if self.compared is not None and self.against else ""
        if self.target is None or self.compared is None:
            return (self.name, self.measured, self.against, ratio, str(self.target or ""), "")
        mark = "ok" if self.target.is_met(self.compared) else "MISSED"
        return (self.name, self.measured, self.against, ratio, str(self.target), mark)


class Section(NamedTuple):
    """Rows below a title and a note."""

    title: str
    rows: Sequence[Row]
    note: str = ""


def table(sections: Iterable[Section]) -> str:
    sections = list(sections)
    lines = [_HEAD, *(row.cells() for section in sections for row in section.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    text = [_line(_HEAD, widths)]
    for section in sections:
        text += ["", section.title, *section.note.splitlines(), *(_line(row.cells(), widths) for row in section.rows)]
    return "\n".join(text)


def facts(effort: Effort) -> str:
    """Describe the machine, the versions and the effort."""
    processor = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return "\n".join(
        [
            f"{os.cpu_count()} cores ({processor[1] if processor else platform.machine()}), {platform.platform()}",
            f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {_wrk()}, Prism {VERSION}",
            ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
            f"1 worker, {effort.connections} connections, {effort.rounds} rounds of {effort.seconds}+ s",
        ]
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, measured, *others = (
        cell.rjust(width) if column in {1, 3} else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"  {name}  {measured}  {'  '.join(others)}".rstrip()


def _wrk() -> str:
    output = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout  # noqa: S607
    return " ".join(output.split()[:2])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
