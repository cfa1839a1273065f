"""The site of the documents: pages that are made, links and lists. mkdocs itself is not needed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from helpers.paths import ROOT

import deepseg_lite
from deepseg_lite.cli.group import cli
from deepseg_lite.store.tasks import list_tasks

SITE = ROOT / "docs" / "site"
TASKS = list_tasks(ROOT / "models")

pytestmark = pytest.mark.skipif(not SITE.exists(), reason="not in a checkout")


@pytest.fixture(scope="module")
def site() -> Iterator[SimpleNamespace]:
    """Import the modules of the site, which find each other as mkdocs lets them."""
    names = ("command_pages", "figures", "gfm", "links", "task_pages")
    path = sys.path[:]
    sys.path.insert(0, str(SITE))
    try:
        yield SimpleNamespace(**{name: __import__(name) for name in names})
    finally:
        sys.path[:] = path


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_has_a_page_with_all_that_is_known(task, site):
    page = site.task_pages.page(
        task, site.task_pages.RELEASES.read_text(encoding="utf-8"), caption=None
    )
    for text in (
        f"`{task.name}`",
        f"deepseg-lite run {task.name}",
        *(f"`{alias}`" for alias in task.aliases),
        *(release.version for release in task.releases),
        *(f"`_{output.suffix}.nii.gz`" for output in task.releases[0].outputs),
        *("## Agreement with the original", "## Limits", "| Licence of the weights |"),
    ):
        assert text in page
    assert page.count("\n## Limits\n") == 1
    assert json.loads(page.splitlines()[1])["title"] == task.name


def test_a_task_page_has_the_rows_of_its_own_releases_alone(site):
    compared = """\
| task, release | voxels | float16 | float32 | not verified |
| --- | ---: | ---: | ---: | --- |
| canal_t2w, r1 | 11 | 0 | 1 | name |
| canal_t2w_other, r1 | 22 | 0 | 2 | name |

| release and options | voxels | float16 | float32 |
| --- | ---: | ---: | ---: |
| canal_t2w-r1 --soft | 33 | 0 | 3 |
| seg_canal_t2w-r1 --soft | 44 | 0 | 4 |
"""
    (task,) = [task for task in TASKS if task.name == "canal_t2w"]
    page = site.task_pages.page(task, compared, caption="An image, CC0")
    assert "| canal_t2w, r1 | 11 | 0 | 1 |\n" in page
    assert "| canal_t2w-r1 --soft | 33 | 0 | 3 |\n" in page
    assert "| 22 |" not in page
    assert "| 44 |" not in page
    assert "docs/pictures/canal_t2w.png)\n\n*An image, CC0*\n" in page


def test_every_picture_of_a_task_has_a_caption_with_its_licence(site):
    pictures = ROOT / "docs" / "pictures"
    captions = site.task_pages.captions()
    assert set(captions) == {
        each.name for each in TASKS if (pictures / f"{each.name}.png").exists()
    }
    assert {"gm_sct_large", "gm_sct_challenge"} < set(captions)
    for caption in captions.values():
        assert "CC0" in caption
        assert not caption.count("*")


def test_every_task_is_in_the_list_and_in_the_navigation(site):
    index = site.task_pages.index(TASKS)
    pages = [
        page for part in site.task_pages.navigation(TASKS) for page in next(iter(part.values()))
    ]
    assert all(f"]({task.name}/README.md)" in index for task in TASKS)
    assert sorted(pages) == sorted(f"tasks/{task.name}.md" for task in TASKS)


def test_every_command_and_every_option_is_in_the_reference(site):
    text = site.command_pages.reference("deepseg-lite", cli)
    for name, command in cli.commands.items():
        (section,) = re.findall(rf"^## `deepseg-lite {name}`\n(.*?)(?=^## |\Z)", text, re.S | re.M)
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[-1] in section


def test_every_public_name_is_in_the_reference_of_python():
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    for name in deepseg_lite.__all__:
        assert re.search(rf"(::: |`)deepseg_lite\.{name}\b", page)


def test_figures_are_those_of_the_committed_results(site):
    result = {
        "stacks": {
            "deepseg_lite": {"title": "here", "without_byte_code_mb": 100.4},
            "nnunetv2": {"title": "there", "without_byte_code_mb": 2000.0},
        },
        "cases": {
            "one": {
                "title": "a `case`",
                "reference": "nnunetv2",
                "runs": {
                    "nnunetv2": {"stack": "nnunetv2", "wall": [9.0, 10.0, 30.0], "peak_mb": [200]},
                    "deepseg_lite": {"stack": "deepseg_lite", "wall": [4.0], "peak_mb": [50]},
                    "int8": {"stack": "deepseg_lite", "variant": "int8", "wall": [1.0]},
                },
                "agreement": {
                    "deepseg_lite": {"differing": 7, "voxels": 1234},
                    "int8": {"differing": 9, "voxels": 1234},
                },
            }
        },
        "machine": {"cpu": "CPU", "cores": 2, "memory_gb": 1, "os": "OS"},
        "threads": 2,
        "date": "2026-01-02T00:00",
    }
    parity = "| **all 78** | 1,000 | 0 | 3 | |\n"
    words = re.sub(r"<[^>]+>", " ", site.figures.headline(result, parity))
    for figure in ("3 of 1,000", "78 runs", "2.5 to 2.5 times", "25 % to 25 %", "100 MB", "2,000"):
        assert figure in words
    bars = site.figures.bars(result)
    assert "a <code>case</code>" in bars
    assert re.findall(r"<b>([\d.]+) s</b><em>([^<]*)", bars) == [
        ("10.0", ""),
        ("4.0", "7 of 1,234 voxels differ"),
    ]


def test_the_sums_of_parity_are_found(site):
    assert site.figures.TOTAL.search(site.figures.PARITY.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("link", "lead"),
    [
        ("[a](other.md#x)", "[a](other.md#x)"),
        ("[a](../../README.md#tasks)", "[a](../tasks/index.md)"),
        ("[a](../../models/canal_t2w/README.md)", "[a](../tasks/canal_t2w.md)"),
        ("[a](../../CONTRIBUTING.md#set-up)", "[a](../project/contributing.md#set-up)"),
        ("![a](../pictures/a.png)", "![a](../pictures/a.png)"),
        ("[a](https://example.org)", "[a](https://example.org)"),
        ("[a `b`](../../deepseg_lite/text.py)", "a `b`"),
        ("[a](lost.md)", "[a](lost.md)"),
    ],
)
def test_links_lead_to_pages_or_are_plain_text(link, lead, site):
    pages = ["tasks/canal_t2w.md", "tasks/index.md", "project/contributing.md", "pictures/a.png"]
    pages += ["users/page.md", "users/other.md"]
    links = site.links.Links("docs/users/page.md", "users/page.md", pages)
    assert links.rewrite(link) == lead
    assert links.rewrite(f"```\n{link}\n```") == f"```\n{link}\n```"


def test_links_to_code_lead_into_the_repository(site):
    links = site.links.Links(
        "models/a/README.md", "tasks/a.md", ["tasks/a.md"], "https://host/main"
    )
    assert links.rewrite("[a](train/b.py)") == "[a](https://host/main/models/a/train/b.py)"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("text\n- a", "text\n\n- a"),
        ("- a\n  b\n- c", "- a\n    b\n- c"),
        ("1. a\n\n   b\n\nc", "1. a\n\n    b\n\nc"),
        ("- a\n\n  ```sh\n  b\n    c\n  ```", "- a\n\n    ```sh\n    b\n      c\n    ```"),
        ("```\n- a\n  b\n```", "```\n- a\n  b\n```"),
        ("- a\n  - b\n- c", "- a\n    - b\n- c"),
    ],
    ids=["blank line", "second line", "ordered", "code in an item", "code", "nested"],
)
def test_lists_are_indented_by_four(given, wanted, site):
    assert site.gfm.reindented(given) == wanted


def test_the_navigation_names_pages_that_are_there_and_takes_new_ones():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    for page in re.findall(r"(?:users|developers|tutorials|reference)/[\w-]+\.md", text):
        assert (ROOT / "docs" / page).is_file()
    for folder in ("users", "developers", "tutorials", "tasks", "project"):
        assert f"{folder}/*" in text


def test_every_mark_of_a_page_is_known():
    made = set(
        re.findall(
            r'^    "([a-z-]+)": lambda', (SITE / "hooks.py").read_text(encoding="utf-8"), re.M
        )
    )
    marks = {
        mark
        for page in Path(ROOT / "docs").rglob("*.md")
        if page.name != "site.md"
        for mark in re.findall(r"<!-- site: ([a-z-]+) -->", page.read_text(encoding="utf-8"))
    }
    assert marks
    assert marks <= made
