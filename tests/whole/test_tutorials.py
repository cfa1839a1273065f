"""Tutorials and all other pages run as they are printed, and give what they promise."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from helpers.pages import Block, blocks, matches, run_page, shell_blocks
from helpers.paths import ROOT

TUTORIALS = ROOT / "docs" / "tutorials"
EXPORTING = "exporting"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the pages are for a POSIX shell")
NAMES = sorted(page.stem for page in TUTORIALS.glob("*.md"))
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "models/*/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
OTHERS = [
    page for page in PAGES if not page.startswith("docs/tutorials/") and list(blocks(ROOT / page))
]


@pytest.mark.parametrize("name", [name for name in NAMES if name != EXPORTING])
def test_a_tutorial_runs(name: str, tmp_path: Path):
    folder = tmp_path / name
    folder.mkdir()
    run_page(TUTORIALS / f"{name}.md", folder)


@pytest.mark.export
@pytest.mark.parametrize("page", [f"docs/tutorials/{EXPORTING}.md", *OTHERS])
def test_a_page_runs(page: str, tmp_path: Path):
    pytest.importorskip("onnx")
    folder = tmp_path / Path(page).stem
    folder.mkdir()
    run_page(ROOT / page, folder)


def unexplained(block: Block, ci: str) -> bool:
    """Return whether nothing says who runs a block of commands, or why nobody does."""
    kind, _, reason = block.mark.partition(": ")
    if kind == "ci":
        return f"readme_block {reason})" not in ci
    if kind == "not executed":
        return len(reason.split()) < 2
    return re.fullmatch("executed by tests/whole/test_tutorials.py( with .+)?", block.mark) is None


def test_every_command_of_the_documents_is_run_or_says_why_not():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    found = {
        f"{page}: {block.code}": block.mark
        for page in PAGES
        for block in shell_blocks(ROOT / page)
        if unexplained(block, ci)
    }
    assert found == {}


@pytest.mark.parametrize(
    ("mark", "is_told"),
    [
        ("", True),
        ("ci: run", False),
        ("ci: never", True),
        ("not executed: ", True),
        ("not executed: needs a GPU", False),
        ("executed by tests/whole/test_tutorials.py with t2.nii.gz", False),
        ("executed by nobody", True),
    ],
)
def test_a_block_of_commands_without_a_reason_is_seen(mark: str, is_told: bool, tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n{f'<!-- {mark} -->' if mark else 'Text'}\n```sh\nls\n```\n")
    (block,) = shell_blocks(page)
    assert block.code == "ls\n"
    assert unexplained(block, "$(readme_block run)") is is_told


@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_has_blocks_that_run_and_promise(name: str):
    marks = [block.mark for block in blocks(TUTORIALS / f"{name}.md")]
    assert any(mark.startswith("executed by tests/whole/test_tutorials.py") for mark in marks)
    assert any(re.match("prints|files of", mark) for mark in marks)


def test_what_is_printed_is_compared():
    assert matches("a ... c\n", "a b c")
    assert matches("...\nlast", "first\nsecond\nlast\n")
    assert not matches("a.c", "abc")
    assert not matches("one", "one\ntwo")


@pytest.mark.parametrize(
    "block",
    [
        "```sh\nexit 3\n```",
        "```python\nprint(1)\n```\n\n<!-- prints -->\n```text\n2\n```",
        "```sh\nmkdir out; touch out/a\n```\n\n<!-- files of out -->\n```text\nb\n```",
    ],
    ids=["fails", "prints something else", "writes something else"],
)
def test_a_page_that_is_not_true_is_seen(block: str, tmp_path: Path):
    page, folder = tmp_path / "page.md", tmp_path / "folder"
    page.write_text(f"<!-- executed by this test -->\n{block}\n")
    folder.mkdir()
    with pytest.raises(AssertionError):
        run_page(page, folder)
