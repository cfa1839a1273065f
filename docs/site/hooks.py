"""What mkdocs is to do with these documents: pages that are made, links, lists, navigation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import command_pages
import figures
import gfm
import links
import task_pages
from deepseg_export.cli.group import cli as deepseg_export
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from deepseg_lite.cli.group import cli as deepseg_lite
from deepseg_lite.store.tasks import list_tasks

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "deepseg_lite" / "bundles"
MARKER = re.compile(r"<!-- site: ([a-z-]+) -->")
PROMISE = re.compile(r"^<!-- (prints|files of [^>]+) -->\n```text$", re.MULTILINE)
MADE: dict[str, Callable[[], str]] = {
    "headline": lambda: figures.headline(figures.newest(), figures.PARITY.read_text("utf-8")),
    "bars": lambda: figures.bars(figures.newest()),
    "deepseg-lite": lambda: command_pages.reference("deepseg-lite", deepseg_lite),
    "deepseg-export": lambda: command_pages.reference("deepseg-export", deepseg_export),
}
"""What stands in a page in the place of ``<!-- site: NAME -->``."""

_sources: dict[str, str] = {}  # of each page that is made, the document whose links it has


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of tasks, the documents that lie outside ``docs/``, and the schemas."""
    made = {"tasks/index.md": ("models/README.md", task_pages.index(tasks := list_tasks()))}
    compared, captions = task_pages.RELEASES.read_text("utf-8"), task_pages.captions()
    for task in tasks:
        source = f"models/{task.name}/README.md"
        text = task_pages.page(task, compared, caption=captions.get(task.name))
        made[links.page_of(source)] = (source, text)
    for source in links.repository_pages():
        page = links.page_of(source)
        if page not in made and files.get_file_from_path(page) is None:
            made[page] = (source, (ROOT / source).read_text("utf-8"))
    for page, (source, text) in made.items():
        _sources[page] = source
        files.append(File.generated(config, page, content=text))
    for schema in sorted(SCHEMAS.glob("*.schema.json")):
        files.append(File.generated(config, f"schemas/{schema.name}", abs_src_path=str(schema)))
    _complete(config.nav, files, {"tasks/*": task_pages.navigation(tasks)})
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is made, lead links to pages, and indent lists as Python-Markdown reads them."""
    name = page.file.src_uri
    code = f"{config.repo_url.rstrip('/')}/blob/main" if config.repo_url else ""
    pages = [file.src_uri for file in files]
    text = links.Links(_sources.get(name, f"docs/{name}"), name, pages, code).rewrite(markdown)
    text = PROMISE.sub(r'```{ .text title="\1" }', text)
    return MARKER.sub(lambda found: MADE[found[1]](), gfm.reindented(text))


def _complete(nav: Any, files: Files, known: dict[str, list[Any]]) -> None:
    """Put what is known, or else all pages of a folder that are not named, in place of ``X/*``."""
    named = set(_pages(nav))
    pages = [file.src_uri for file in files.documentation_pages() if file.src_uri not in named]
    for section in _sections(nav):
        for item in [item for item in section if isinstance(item, str) and item.endswith("/*")]:
            folder, place = PurePosixPath(item).parent, section.index(item)
            left = sorted(page for page in pages if PurePosixPath(page).parent == folder)
            section[place : place + 1] = known.get(item, left)


def _sections(nav: Any) -> list[list[Any]]:
    """Return the lists of a navigation, those within others too."""
    if isinstance(nav, str):
        return []
    parts = nav if isinstance(nav, list) else list(nav.values())
    inner = [section for part in parts for section in _sections(part)]
    return [nav, *inner] if isinstance(nav, list) else inner


def _pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav if isinstance(nav, list) else nav.values()
    return [page for part in parts for page in _pages(part)]
