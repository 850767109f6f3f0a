"""Progress outside of a terminal."""

import pytest

from app.cli.console import track
from tests.support.clock import FakeClock


def test_progress_is_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock, pages = FakeClock(), [[0] * 150] * 9
    for _ in track(pages, "Reading", size=len, clock=clock):
        clock.advance(4)
    assert capsys.readouterr().err.splitlines() == [f"Reading: {number * 150} images" for number in (3, 6, 9)]
