"""Documents as programs: their marked blocks are run, and what they promise is compared.

``<!-- executed by ... -->`` before a block of ``sh`` or ``python`` runs it in the page's folder.
``<!-- prints -->`` before a block of ``text`` says what the block before it prints, ``...`` being
anything; ``<!-- files of FOLDER -->`` which files are in a folder then.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from helpers.paths import ROOT

MARKED = re.compile(
    r"^ *<!-- (executed by [^>]*|prints|files of [^>]*) -->\n *```(\w+)\n(.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
PROGRAMS = {"deepseg-lite": "deepseg_lite", "deepseg-export": "deepseg_export"}


class Block(NamedTuple):
    """A block of code with the words of its mark."""

    mark: str
    language: str
    code: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the marked blocks of a document."""
    for mark, language, code in MARKED.findall(page.read_text(encoding="utf-8")):
        yield Block(mark, language, code)


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a document, one after another, and compare what they promise."""
    environment = _environment(folder.parent / f"{folder.name}.bin")
    printed = ""
    for block in blocks(page):
        if block.mark == "prints":
            assert matches(block.code, printed), f"{page.name} prints:\n{printed}"
        elif block.mark.startswith("files of "):
            inside = folder / block.mark.removeprefix("files of ")
            found = (p.relative_to(inside).as_posix() for p in inside.rglob("*") if p.is_file())
            assert sorted(found) == block.code.splitlines()
        else:
            shell = block.language == "sh"
            words = ["sh", "-euc", block.code] if shell else [sys.executable, "-c", block.code]
            done = subprocess.run(
                words, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr}"
            printed = done.stdout


def matches(promised: str, printed: str) -> bool:
    """Return whether a text is as promised; ``...`` stands for anything, also for lines."""
    pattern = re.escape(promised.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def _environment(programs: Path) -> dict[str, str]:
    """Return an environment in which the programs of this checkout are found."""
    programs.mkdir()
    for name, module in PROGRAMS.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        program.chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    packages = os.pathsep.join([str(ROOT), str(ROOT / "export")])
    return {**os.environ, "PATH": path, "PYTHONPATH": packages}
