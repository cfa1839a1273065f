"""The tutorials run as they are printed, and give what they promise."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from helpers.pages import blocks, matches, run_page
from helpers.paths import ROOT
from helpers.plain_nnunet import write_plain_model

TUTORIALS = ROOT / "docs" / "tutorials"
EXPORTING = "exporting"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the pages are for a POSIX shell")
NAMES = sorted(page.stem for page in TUTORIALS.glob("*.md"))


@pytest.mark.parametrize("name", [name for name in NAMES if name != EXPORTING])
def test_a_tutorial_runs(name: str, tmp_path: Path):
    folder = tmp_path / name
    folder.mkdir()
    run_page(TUTORIALS / f"{name}.md", folder)


@pytest.mark.export
def test_the_tutorial_of_a_checkpoint_runs(tmp_path: Path):
    pytest.importorskip("onnx")
    folder = tmp_path / EXPORTING
    write_plain_model(folder / "my_results", folds=("0", "1"))
    run_page(TUTORIALS / f"{EXPORTING}.md", folder)


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
