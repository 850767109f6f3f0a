"""Output for people on standard error: progress and colors on a terminal, plain lines elsewhere."""

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click

from app.timestamps import SYSTEM_CLOCK, Clock

_LINE_INTERVAL = 10  # seconds between the lines of a progress that is not shown on a terminal
_STYLES = {"Error": "bold red", "Warning": "yellow"}

_STEP = 100  # images
_Item = TypeVar("_Item")
_Advance = Callable[[int], None]


def track(  # noqa: PLR0913 each is an option
    items: Iterable[_Item],
    label: str,
    total: int | None = None,
    *,
    size: Callable[[_Item], int] = lambda _: 1,
    lines: bool = False,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[_Item]:
    """Yield items, and show how many images they are in a bar on a terminal.

    Elsewhere, a line every ten seconds shows it if `lines` are wanted.
    """
    shown = _bar(label, total) if sys.stderr.isatty() else _lines(label, clock, wanted=lines)
    with shown as advance:
        pending = 0
        for item in items:
            yield item
            pending += size(item)
            if pending >= _STEP:
                advance(pending)
                pending = 0
        advance(pending)


def warn(message: str) -> None:
    """Write a warning."""
    _print(f"Warning: {message}\n")


def show_error(error: click.ClickException) -> None:
    """Write what the error shows, such as its message and the usage of the command."""
    text = io.StringIO()
    error.show(text)
    _print(text.getvalue())


def _print(text: str) -> None:
    """Write text, whose leading `Error:` or `Warning:` is colored on a terminal."""
    from rich.console import Console  # noqa: PLC0415 most commands do not need it, and it takes 50 ms to import
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True)
    if console.color_system is None or console.no_color:
        click.echo(text, err=True, nl=False)
        return
    styled = Text(text)
    for match in re.finditer(rf"^({'|'.join(_STYLES)}):", text, flags=re.MULTILINE):
        styled.stylize(_STYLES[match[1]], *match.span())
    console.print(styled, soft_wrap=True, end="")


@contextmanager
def _bar(label: str, total: int | None) -> Iterator[_Advance]:
    """Show a progress bar, which disappears at the end: the report of the command follows it."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    click.get_current_context().call_on_close(bar.stop)  # also after an error elsewhere, before its message
    with bar:
        task = bar.add_task(label, total=total or None)
        yield lambda count: bar.advance(task, count)


@contextmanager
def _lines(label: str, clock: Clock, *, wanted: bool) -> Iterator[_Advance]:
    """Write a line every ten seconds, if such lines are wanted."""
    done, due = 0, clock.monotonic() + _LINE_INTERVAL

    def advance(count: int) -> None:
        nonlocal done, due
        done += count
        if wanted and clock.monotonic() >= due:
            due = clock.monotonic() + _LINE_INTERVAL
            click.echo(f"{label}: {done} images", err=True)

    yield advance
