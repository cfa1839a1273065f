"""The documents: links that lead somewhere, a short README, and all options in words."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from deepseg_export.cli.group import cli as deepseg_export
from helpers.paths import ROOT

from deepseg_lite.cli.batch import batch
from deepseg_lite.cli.group import cli as deepseg_lite
from deepseg_lite.cli.run import run

PROGRAMS = {"deepseg-lite": deepseg_lite, "deepseg-export": deepseg_export}
README_WORDS = 900
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="not in a checkout"
)


@cache
def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).exists()]


def prose(path: Path) -> str:
    """Return a document without its code blocks."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(prose(path)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def problems(path: Path, root: Path = ROOT) -> list[str]:
    """Return the relative links of a document that lead nowhere, or out of the repository."""
    found = []
    for link in (inline or reference for inline, reference in LINK.findall(prose(path))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = unquote(link).partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or not file.is_relative_to(root):
            found.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(file):
            found.append(f"{link}: no such heading")
    return found


def test_every_relative_link_leads_somewhere():
    broken = {str(path.relative_to(ROOT)): problems(path) for path in documents()}
    assert {path: found for path, found in broken.items() if found} == {}


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b`-c, d\n[x](#a-b-c-d) [x](#a) [x](no.md)\n```\n[x](never.md)\n```\n")
    assert anchors(page) == {"a-b-c-d"}
    assert problems(page, tmp_path) == ["#a: no such heading", "no.md: no such file"]


def test_the_readme_is_short():
    lines = prose(ROOT / "README.md").splitlines()
    words = [word for line in lines if not line.startswith("|") for word in line.split()]
    assert len(words) < README_WORDS


def test_every_option_of_run_is_described():
    text = (ROOT / "docs" / "users" / "options.md").read_text(encoding="utf-8")
    names = {
        name
        for option in run.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    missing = {name for name in names if not re.search(rf"`{re.escape(name)}(?![\w-])", text)}
    assert missing == set()


SHELL = re.compile(r"^ *```(?:sh)?\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def command_lines(path: Path) -> Iterator[list[str]]:
    """Yield the words of the command lines of our programs in a document's blocks of code."""
    for block in SHELL.findall(path.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||[|;]", re.sub(r"(^|\s)#.*", "", line)):
                words = part.split()
                if words and Path(words[0]).name in PROGRAMS:
                    yield [Path(words[0]).name, *words[1:]]


def unknown_words(line: list[str]) -> list[str]:
    """Return the commands and options of a command line that its program does not have."""
    program, *words = line
    group, given = PROGRAMS[program], [word for word in words if not word.startswith("-")]
    command = group.commands.get(given[0]) if given else group
    if command is None:
        return given[:1]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    known |= {"--help", "--version"}
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in known]


def test_every_command_line_has_commands_and_options_that_exist():
    wrong = {
        f"{path.relative_to(ROOT)}: {' '.join(line)}": unknown
        for path in documents()
        for line in command_lines(path)
        if path.name != "CHANGELOG.md" and (unknown := unknown_words(line))
    }
    assert wrong == {}


def test_a_command_line_that_does_not_exist_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\nls && deepseg-lite run t --sofd # --x\ndeepseg-export nnunt a\n```\n")
    assert [unknown_words(line) for line in command_lines(page)] == [["--sofd"], ["nnunt"]]


def test_every_option_of_batch_is_described():
    page = (ROOT / "docs" / "users" / "datasets.md").read_text(encoding="utf-8")
    names = {
        name
        for option in batch.params
        if isinstance(option, click.Option) and option.name not in {own.name for own in run.params}
        for name in (*option.opts, *option.secondary_opts)
    }
    assert names
    missing = {name for name in names if not re.search(rf"`[^`]*{name}(?![\w-])", page)}
    assert missing == set()
