"""Progress: a bar on a terminal, lines elsewhere."""

import io
import sys

import click
import pytest

from app.cli.console import track
from tests.support.clock import FakeClock

PAGES = [[0] * 150] * 9


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return whether it is one."""
        return True


@pytest.mark.parametrize("completed", [True, False])
def test_bar_disappears_at_the_end_of_the_command(monkeypatch: pytest.MonkeyPatch, completed: bool) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with click.Context(click.Command("x")):
        items = track(PAGES, "Reading", 1350, size=len)
        assert next(items) == PAGES[0]
        assert not completed or list(items) == PAGES[1:]
    assert ("Reading" in terminal.getvalue(), "1350/1350" in terminal.getvalue()) == (True, completed)
    assert terminal.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # shows the cursor, and erases the bar


@pytest.mark.parametrize(("lines", "numbers"), [(True, [450, 900, 1350]), (False, [])])
def test_elsewhere_a_line_is_written_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], lines: bool, numbers: list[int]
) -> None:
    clock = FakeClock()
    for _ in track(PAGES, "Reading", size=len, lines=lines, clock=clock):
        clock.advance(4)
    assert capsys.readouterr().err.splitlines() == [f"Reading: {number} images" for number in numbers]
