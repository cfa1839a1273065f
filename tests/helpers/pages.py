"""Documents as programs: their marked blocks are run, and what they promise is compared.

``<!-- executed by ... -->`` before a block of ``sh`` or ``python`` runs it in the page's folder,
``<!-- executed by ... with NAME, KIND as NAME -->`` in a folder that has these (`page_files`).
``<!-- prints -->`` before a block of ``text`` says what the block before it prints, ``...`` being
anything; ``<!-- files of FOLDER -->`` which files are in a folder then. ``<!-- ci: NAME -->``
is a block that CI runs, and ``<!-- not executed: ... -->`` says why nothing here can run one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from helpers.page_files import MIRROR, mirror, write, write_programs
from helpers.paths import ROOT

MARKED = re.compile(
    r"^ *<!-- (executed by [^>]*|prints|files of [^>]*) -->\n *```(\w+)\n(.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
SHELL = re.compile(r"(?:^ *<!-- ([^>]*) -->\n)?^ *```sh\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
ADDRESS = "https://host/models"
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


def shell_blocks(page: Path) -> Iterator[Block]:
    """Yield all blocks of shell commands of a document; the mark of one without is empty."""
    for mark, code in SHELL.findall(page.read_text(encoding="utf-8")):
        yield Block(mark, "sh", code)


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a document, one after another, and compare what they promise."""
    with mirror(folder.with_name(folder.name + MIRROR)) as address:
        _run(page, folder, _environment(folder.parent / f"{folder.name}.bin", address), address)


def _run(page: Path, folder: Path, environment: dict[str, str], address: str) -> None:
    printed = ""
    for block in blocks(page):
        for name in filter(None, block.mark.partition(" with ")[2].split(", ")):
            write(name, folder)
        if block.mark == "prints":
            assert matches(block.code, printed), f"{page.name} prints:\n{printed}"
        elif block.mark.startswith("files of "):
            inside = folder / block.mark.removeprefix("files of ")
            found = (p.relative_to(inside).as_posix() for p in inside.rglob("*") if p.is_file())
            assert sorted(found) == block.code.splitlines()
        else:
            shell = block.language == "sh"
            code = block.code.replace(ADDRESS, address)
            words = ["sh", "-euc", code] if shell else [sys.executable, "-c", code]
            done = subprocess.run(
                words, cwd=folder, env=environment, capture_output=True, text=True, check=False,
                preexec_fn=_take_ctrl_c,
            )  # fmt: skip
            assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr}"
            printed = done.stdout


def matches(promised: str, printed: str) -> bool:
    """Return whether a text is as promised; ``...`` stands for anything, also for lines."""
    pattern = re.escape(promised.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def _take_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _environment(programs: Path, address: str) -> dict[str, str]:
    """Return an environment in which the programs of this checkout are found."""
    programs.mkdir()
    for name, module in PROGRAMS.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
    write_programs(programs, ROOT / "pyproject.toml")
    for program in programs.iterdir():
        program.chmod(0o755)
    (home := programs / "home").mkdir()
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "export")]),
        "HOME": str(home),
        "SHELL": "/bin/bash",
        "BROWSER": str(programs / "browser"),
        "DEEPSEG_LITE_MIRROR": address,
    }
