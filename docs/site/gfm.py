"""Markdown as GitHub reads it, written as Python-Markdown reads it: the indents of lists differ."""

from __future__ import annotations

import re
from collections.abc import Iterator

MARKER = re.compile(r"( {0,3}(?:[-*+]|\d{1,9}[.)])) {1,4}(?=\S)")
FENCE = re.compile(r" {0,3}(```+|~~~+)")
BLOCK = re.compile(r" *(#|>|```|~~~|\||<|[-*+] |\d{1,9}[.)] )")
INDENT = 4


def blocks(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the lines of a document, and of each whether it is in a block of code."""
    fence = ""
    for line in text.split("\n"):
        found = FENCE.match(line.strip())
        starts = found is not None and not fence
        ends = bool(fence) and line.strip().startswith(fence) and not line.strip().strip(fence[0])
        yield bool(fence) or starts, line
        if starts and found is not None:
            fence = found[1]
        elif ends:
            fence = ""


def reindented(text: str) -> str:
    r"""Return a document whose lists are indented by four, with a blank line before each.

    GitHub indents what belongs to an item as far as the item's own text, which is two for ``-``
    and three for ``1.``; Python-Markdown takes four for all of them.

    >>> print(reindented("Text\n- a\n  more\n  - b\n\nEnd"))
    Text
    <BLANKLINE>
    - a
        more
        - b
    <BLANKLINE>
    End
    """
    lines: list[str] = []
    items: list[int] = []  # where the text of each open item begins
    before, was_code = "", False
    for is_code, line in blocks(text):
        if not line.strip():
            lines.append("")
        else:
            indent = len(line) - len(line.lstrip(" "))
            goes_on = bool(before.strip()) and not BLOCK.match(line)
            is_in_list = bool(items)
            while items and indent < items[-1] and not goes_on and not (is_code and was_code):
                items.pop()
            start = items[-1] if items else 0
            body = line[min(indent, start) :]
            marker = None if is_code else MARKER.match(body)
            if marker is None:
                lines.append(" " * INDENT * len(items) + body)
            else:
                if before.strip() and not is_in_list:
                    lines.append("")
                rest = body[marker.end() :]
                lines.append(f"{' ' * INDENT * len(items)}{marker[1].strip()} {rest}")
                items.append(start + marker.end())
        before, was_code = line, is_code
    return "\n".join(lines)
