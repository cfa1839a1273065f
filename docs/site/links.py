"""Links between files of the repository, as links between pages of the site."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from gfm import blocks

ROOT = Path(__file__).resolve().parents[2]
DOCS = PurePosixPath("docs")
LINK = re.compile(r"(?P<before>\]\(|^\[[^\]]+\]: )(?P<target>[^()\s]+)(?P<after>\)?)")
WHOLE_LINK = re.compile(r"(?<!!)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)")
ELSEWHERE = re.compile(r"[a-z]+:|#|/")


def repository_pages(root: Path = ROOT) -> list[str]:
    """Return the documents outside ``docs/``, but cards of bundles, which those of tasks repeat."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=root, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]
    return [name for name in names if not re.match(r"docs/|models/\w+/bundle/", name)]


def page_of(path: str) -> str:
    """Return the page of a document of the repository.

    >>> page_of("README.md"), page_of("docs/users/python.md"), page_of("models/canal_t2w/README.md")
    ('index.md', 'users/python.md', 'tasks/canal_t2w.md')
    >>> page_of("CONTRIBUTING.md"), page_of("benchmarks/README.md"), page_of("models/CHANGELOG.md")
    ('project/contributing.md', 'project/benchmarks.md', 'project/models-changelog.md')
    """
    given = PurePosixPath(path)
    if path == "README.md":
        return "index.md"
    if DOCS in given.parents:
        return str(given.relative_to(DOCS))
    if re.fullmatch(r"models/\w+/README\.md", path):
        return f"tasks/{given.parent.name}.md"
    parts = given.parent.parts if given.name == "README.md" else given.with_suffix("").parts
    return f"project/{'-'.join(parts).lower()}.md"


class Links:
    """Links of one page.

    Parameters
    ----------
    source : str
        Path of the document in the repository.
    page : str
        Path of its page.
    pages : collection of str
        Paths of all files of the site.
    code : str
        Address of the repository's files, or nothing, where it has none.
    """

    def __init__(self, source: str, page: str, pages: Collection[str], code: str = "") -> None:
        self._source, self._page, self._pages, self._code = source, page, pages, code

    def rewrite(self, text: str) -> str:
        """Return a document whose relative links lead to pages, or else into the repository."""
        return "\n".join(
            line if is_code else LINK.sub(self._replaced, WHOLE_LINK.sub(self._kept, line))
            for is_code, line in blocks(text)
        )

    def _kept(self, found: re.Match[str]) -> str:
        """Return a link, or its text alone where it leads to what is nowhere to be seen."""
        return found[0] if self._lead(found["target"]) else found["text"]

    def _replaced(self, found: re.Match[str]) -> str:
        return f"{found['before']}{self._lead(found['target'])}{found['after']}"

    def _lead(self, target: str) -> str:
        if ELSEWHERE.match(target):
            return target
        path, _, anchor = target.partition("#")
        path = os.path.normpath(PurePosixPath(self._source).parent / path)
        if path == "README.md" and anchor == "tasks":  # its table is the list of pages here
            path, anchor = "docs/tasks/index.md", ""
        page = page_of(path)
        if page not in self._pages:  # a picture, a schema or code
            page = path.removeprefix("docs/")
        if page in self._pages:
            there = os.path.relpath(page, PurePosixPath(self._page).parent)
            return f"{there}#{anchor}" if anchor else there
        if path.startswith("docs/") and path.endswith(".md"):
            return target  # a page that is not there: mkdocs says so
        return f"{self._code}/{path}" if self._code else ""
