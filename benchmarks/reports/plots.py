"""Line charts as SVG: panels in a grid, each with a few named lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN = 250, 190, 44
COLORS = ("#1f6fb4", "#d1691f", "#3a8f3a", "#8a55a8")
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """A chart: its title, the names of its axes, and the points (x, y) of its lines by name."""

    title: str
    x_name: str
    y_name: str
    lines: Mapping[str, Points]


def draw(panels: Sequence[Panel], columns: int) -> str:
    """Return an SVG file with panels in rows, and one legend below."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    rows = -(-len(panels) // columns)
    width, height = columns * WIDTH, rows * HEIGHT + 24
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for index, panel in enumerate(panels):
        place = f"{index % columns * WIDTH} {index // columns * HEIGHT}"
        parts += [f'<g transform="translate({place})">', *_panel(panel, names), "</g>"]
    for index, name in enumerate(names):
        x = MARGIN + 160 * index
        parts.append(
            f'<rect x="{x}" y="{height - 16}" width="10" height="10" fill="{COLORS[index]}"/>'
        )
        parts.append(f'<text x="{x + 15}" y="{height - 7}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, names: Sequence[str]) -> list[str]:
    xs = sorted({x for points in panel.lines.values() for x, _ in points})
    top = max(y for points in panel.lines.values() for _, y in points)
    right, bottom = WIDTH - 14, HEIGHT - MARGIN

    def place(x: float, y: float) -> tuple[float, float]:
        """Return where a point is; axes start at zero: a straight line is linear cost."""
        across = MARGIN + (right - MARGIN) * x / xs[-1]
        return round(across, 1), round(bottom - (bottom - 28) * y / top, 1)

    middle = f'x="{(MARGIN + right) / 2}" text-anchor="middle"'
    parts = [
        f'<text {middle} y="16" font-size="12">{escape(panel.title)}</text>',
        f'<path d="M{MARGIN} 24V{bottom}H{right}" fill="none" stroke="#555"/>',
        f'<text {middle} y="{bottom + 30}">{escape(panel.x_name)}</text>',
        f'<text x="{MARGIN - 5}" y="22" text-anchor="end">{escape(panel.y_name)}</text>',
    ]
    for value in (top / 2, top):
        _, y = place(0, value)
        text = f"{value:,.{value < 100:d}f}"
        parts.append(f'<text x="{MARGIN - 5}" y="{y + 8}" text-anchor="end">{text}</text>')
    for value in xs:
        x, _ = place(value, 0)
        parts.append(f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{value:.2g}</text>')
    for name, points in panel.lines.items():
        color = COLORS[names.index(name)]
        spots = [place(x, y) for x, y in sorted(points)]
        path = " ".join(f"{x},{y}" for x, y in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"/>' for x, y in spots]
    return parts
