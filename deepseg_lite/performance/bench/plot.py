"""Plot of the stages: one bar for each configuration, cold and warm, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from deepseg_lite.performance.bench.figures import STAGES

CHARACTER, LINE = 7.0, 20.0  # widths and heights in pixels, for sans-serif letters of 12 px
BAR, GAP = 16.0, 6.0
WIDTH, MARGIN = 640.0, 16.0  # of the bars, and around everything
LEGEND_COLUMNS = 4


class Bar(NamedTuple):
    """Bar of one pass: its label and the seconds of its stages."""

    label: str
    stages: Mapping[str, float]


def draw_stages(document: Mapping[str, Any]) -> str:
    """Return an SVG picture of the seconds that every stage took.

    Parameters
    ----------
    document : mapping
        As `deepseg_lite.performance.bench.running.describe_benchmark` returns it, with at least
        one result.

    Returns
    -------
    svg : str
        Horizontal bars of the cold and the median warm pass of every configuration; the seconds of
        each piece show when the pointer rests on it.
    """
    bars = [bar for result in document["results"] for bar in _bars(result)]
    shown = [stage for stage in STAGES if any(bar.stages[stage] > 0 for bar in bars)]
    ticks = _ticks(max(sum(bar.stages.values()) for bar in bars))
    left = 2 * MARGIN + CHARACTER * max(len(bar.label) for bar in bars)
    top = MARGIN + LINE * (math.ceil(len(shown) / LEGEND_COLUMNS) + 1)
    bottom = top + len(bars) * (BAR + GAP)
    width, height = left + WIDTH + 3 * MARGIN, bottom + 2 * LINE + MARGIN
    scale = WIDTH / ticks[-1]
    size = f'width="{width:.0f}" height="{height:.0f}"'
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    font = 'font-family="sans-serif" font-size="12" fill="#222222"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} {font}>',
            f'<rect {size} fill="#FFFFFF"/>',
            *_legend(shown, left),
            *_axis(ticks, scale, left, top, bottom),
            *(
                line
                for index, bar in enumerate(bars)
                for line in _draw_bar(bar, scale, left, top + index * (BAR + GAP))
            ),
            "</svg>",
            "",
        )
    )


def _bars(result: Mapping[str, Any]) -> Iterator[Bar]:
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    name = f"{result['name']}, {result['device']} {result['precision']}, {threads}"
    yield Bar(f"{name}, cold", result["cold"]["stages"])
    medians = {stage: seconds["median"] for stage, seconds in result["warm"]["stages"].items()}
    yield Bar(f"{name}, warm", medians)


def _ticks(longest: float) -> list[float]:
    """Return round numbers from 0 to beyond the longest bar, about five."""
    rough = max(longest, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * index for index in range(math.ceil(longest / step) + 1)]


def _legend(stages: Sequence[str], left: float) -> Iterator[str]:
    for index, stage in enumerate(stages):
        row, column = divmod(index, LEGEND_COLUMNS)
        x, y = left + column * WIDTH / LEGEND_COLUMNS, MARGIN + row * LINE
        title, colour = STAGES[stage]
        yield f'<rect x="{x:.1f}" y="{y:.1f}" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 18, y + 11, title)


def _axis(
    ticks: Sequence[float], scale: float, left: float, top: float, bottom: float
) -> Iterator[str]:
    for tick in ticks:
        x = left + tick * scale
        yield (
            f'<line x1="{x:.1f}" y1="{top - GAP:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" '
            'stroke="#DDDDDD"/>'
        )
        yield _text(x, bottom + LINE - GAP, f"{tick:g}", "middle")
    yield _text(left + WIDTH / 2, bottom + 2 * LINE - GAP, "seconds", "middle")


def _draw_bar(bar: Bar, scale: float, left: float, y: float) -> Iterator[str]:
    yield _text(left - MARGIN / 2, y + BAR - 4, bar.label, "end")
    x = left
    for stage, (title, colour) in STAGES.items():
        width = bar.stages[stage] * scale
        if width > 0:
            yield (
                f'<rect x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{BAR:.0f}" '
                f'fill="{colour}"><title>{title}: {bar.stages[stage]:.3f} s</title></rect>'
            )
        x += width


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
