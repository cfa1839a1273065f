"""The documents: links that lead somewhere, a short README, and all options in words."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from helpers.paths import ROOT

from deepseg_lite.cli.batch import batch
from deepseg_lite.cli.run import run

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
