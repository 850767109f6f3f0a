"""A chart of responses per second of CPU time, as SVG for light and dark pages."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from tests.bench.rounds import digits

_WIDTH, _LABELS, _RIGHT = 840, 296, 124
_BAR, _STEP, _TITLE, _GAP = 18, 26, 50, 34
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .small { font-size: 11px; fill: #57606a }
  .grid { stroke: #d0d7de }
  .bar { fill: #8c959f }
  .highlighted { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .small { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .bar { fill: #656c76 }
    .highlighted { fill: #4493f8 }
  }
"""

_AXIS = "responses per second of CPU time, on a logarithmic scale (CPU time of a response)"

Bars = Mapping[str, float]  # CPU time in µs


def chart(panels: Mapping[str, Bars], highlighted: Sequence[str]) -> str:
    """Draw a panel for each title. The bars named in `highlighted` have a color."""
    rates = [1e6 / cpu for bars in panels.values() for cpu in bars.values()]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    parts, top = [], 0
    for title, bars in panels.items():
        parts += [f'<g transform="translate(0 {top})">', *_panel(title, bars, highlighted, low, high), "</g>"]
        top += _TITLE + _STEP * len(bars) + _GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>", ""])


def _panel(title: str, bars: Bars, highlighted: Sequence[str], low: int, high: int) -> Iterator[str]:
    yield f'<text class="title" x="8" y="20">{escape(title)}</text>'
    yield f'<text class="small" x="8" y="38">{escape(_AXIS)}</text>'
    bottom = _TITLE + _STEP * len(bars)
    for power in range(low, high + 1):
        x = _x(10.0**power, low, high)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TITLE}" y2="{bottom}"/>'
        yield f'<text class="small" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{10**power:,}</text>'
    for number, (name, cpu) in enumerate(bars.items()):
        y = _TITLE + _STEP * number + (_STEP - _BAR) / 2
        rate = 1e6 / cpu
        end = _x(rate, low, high)
        style = "highlighted" if name in highlighted else "bar"
        yield f'<text x="{_LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect class="{style}" x="{_LABELS}" y="{y}" width="{end - _LABELS:.1f}" height="{_BAR}" rx="2"/>'
        yield f'<text x="{end + 6:.1f}" y="{y + 13}">{digits(rate)} ({_duration(cpu)})</text>'


def _duration(cpu: float) -> str:
    return f"{digits(cpu)} µs" if cpu < 1000 else f"{cpu / 1000:.3g} ms"


def _x(rate: float, low: int, high: int) -> float:
    return _LABELS + (_WIDTH - _LABELS - _RIGHT) * (math.log10(rate) - low) / max(high - low, 1)
