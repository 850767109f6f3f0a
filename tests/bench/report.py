"""What was measured, as a table."""

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
    """What a measure has to be."""

    value: float
    unit: str = ""
    most: bool = False  # not the least that it may be, but the most

    def met(self, value: float) -> bool:
        """Tell whether a measure is as it has to be."""
        return value <= self.value if self.most else value >= self.value

    def __str__(self) -> str:
        return f"{'at most' if self.most else 'at least'} {self.value:,g}{self.unit}"


class Row(NamedTuple):
    """One line of the table. What is judged is the ratio, where there is one."""

    name: str
    measured: str
    against: str = ""
    judged: float | None = None
    target: Target | None = None

    def cells(self) -> tuple[str, ...]:
        """Give the line's cells."""
        ratio = f"{self.judged:.2f}" if self.judged is not None and self.against else ""
        if self.target is None or self.judged is None:
            return (self.name, self.measured, self.against, ratio, str(self.target or ""), "")
        mark = "ok" if self.target.met(self.judged) else "MISSED"
        return (self.name, self.measured, self.against, ratio, str(self.target), mark)


class Section(NamedTuple):
    """Rows that belong together."""

    title: str
    rows: Sequence[Row]


def table(sections: Iterable[Section]) -> str:
    """Write all sections as one table."""
    sections = list(sections)
    lines = [_HEAD, *(row.cells() for section in sections for row in section.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    text = [_line(_HEAD, widths)]
    for section in sections:
        text += ["", section.title, *(_line(row.cells(), widths) for row in section.rows)]
    return "\n".join(text)


def facts(effort: Effort) -> str:
    """Say what it was measured on."""
    processor = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return "\n".join(
        [
            f"{os.cpu_count()} cores ({processor[1] if processor else platform.machine()}), {platform.platform()}",
            f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {_wrk()}, Prism {VERSION}",
            ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
            f"1 worker, 16 connections, medians of {effort.rounds} rounds of {effort.seconds} s or more",
        ]
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, measured, *others = (
        cell.rjust(width) if column in {1, 3} else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"  {name}  {measured}  {'  '.join(others)}".rstrip()


def _wrk() -> str:
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout  # noqa: S607
    return " ".join(said.split()[:2])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
