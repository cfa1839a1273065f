"""Figures of the first page, from the committed results of benchmarks and parity tests."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from reports import report, tables  # noqa: E402

PARITY = ROOT / "docs" / "developers" / "parity.md"
HERE = "deepseg_lite"
TOTAL = re.compile(r"\| \*\*all (\d+)\*\* \| ([\d,]+) \| (\d+) \| (\d+) \|")


def newest() -> Mapping[str, Any]:
    """Return the newest committed result of the benchmarks."""
    return max(report.latest_results().values(), key=lambda result: result["date"])


def headline(result: Mapping[str, Any], parity: str) -> str:
    """Return agreement, speed, memory and size as four figures, each with a line of words.

    Parameters
    ----------
    result : mapping
        One result of the benchmarks.
    parity : str
        The document with the table of label maps that were compared.
    """
    total = TOTAL.search(parity)
    if total is None:
        raise ValueError("The table of parity has no last row with its sums.")
    runs, voxels, rounded_alike, differ = total.groups()
    exact = list(_exact(result))
    speeds = [_seconds(base) / _seconds(run) for _, run, base in exact]
    memory = [median(run["peak_mb"]) / median(base["peak_mb"]) for _, run, base in exact]
    sizes = {name: stack["without_byte_code_mb"] for name, stack in result["stacks"].items()}
    original = exact[0][2]["stack"]
    alike = "none" if rounded_alike == "0" else rounded_alike
    agreement = (
        f"voxels differ from nnU-Net over {runs} runs of trained models on real images; {alike} "
        "when sums are rounded as nnU-Net rounds them"
    )
    size = (
        f"installed, with all that it needs; {result['stacks'][original]['title']} and PyTorch "
        f"take {sizes[original]:,.0f}\u00a0MB"
    )
    cards = [
        (f"{differ} of {voxels}", agreement),
        (
            f"{min(speeds):.1f} to {max(speeds):.1f} times",
            "the speed of the original software, on the same processor, in full precision",
        ),
        (
            f"{min(memory):.0%} to {max(memory):.0%}".replace("%", " %"),
            "of the original software's memory, in the same runs",
        ),
        (f"{sizes[HERE]:.0f} MB", size),
    ]
    shown = (f"<div><b>{escape(big)}</b><span>{escape(small)}</span></div>" for big, small in cards)
    return f'<div class="figures">{"".join(shown)}</div>'


def bars(result: Mapping[str, Any]) -> str:
    """Return the seconds of each case as bars: the original, and what is exact here."""
    longest = max(_seconds(base) for _, _, base in _exact(result))
    lines, seen = ['<div class="bars">'], ""
    for case, run, base in _exact(result):
        if case["title"] != seen:
            seen = case["title"]
            lines.append(f"<p>{_code(seen)}</p>")
            lines.append(_bar(tables.title(result, base), _seconds(base), longest))
        name, agreement = tables.title(result, run), case["agreement"][run["stack"]]
        differ = f"{agreement['differing']:,} of {agreement['voxels']:,} voxels differ"
        lines.append(_bar(name, _seconds(run), longest, differ))
    lines.append(f'</div>\n\n<p class="hardware">{escape(tables.hardware_line(result))}</p>')
    return "".join(lines)


def _exact(result: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield case, run and original of the main runs in full precision."""
    for case, run, base, agreement in tables.compared(result):
        if agreement and run.get("main", True) and not run.get("variant"):
            yield {**case, "agreement": {run["stack"]: agreement}}, run, base


def _seconds(run: Mapping[str, Any]) -> float:
    return median(tables.seconds(run))


def _bar(name: str, seconds: float, longest: float, differ: str = "") -> str:
    width = max(100 * seconds / longest, 1)
    return (
        f'<div class="bar {"here" if differ else "original"}"><span>{escape(name)}</span>'
        f'<i><u style="width:{width:.1f}%"></u></i><b>{seconds:.1f} s</b><em>{differ}</em></div>'
    )


def _code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
