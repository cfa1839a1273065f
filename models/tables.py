"""Write the tables of tasks into README.md and models/README.md; --check says if they are current.

The tables come from the task files alone, so they are the same on every machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from deepseg_lite.bundles.task_file import Task
from deepseg_lite.store.catalogue import grouped, inputs_in_words, license_in_words
from deepseg_lite.store.tasks import list_tasks

MODELS = Path(__file__).resolve().parent
START, END = "<!-- tasks:start -->", "<!-- tasks:end -->"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("*", "\\*") for line in lines)


def _here(task: Task) -> str:
    if (task.bundle_path / "manifest.json").is_file():
        return "in the wheel"
    release = task.exportable
    if release is None:
        return "not yet"
    return "export" if release is task.releases[0] else f"export {release.version}"


def for_users(tasks: list[Task]) -> str:
    """Return the table of the package's README."""
    rows = [
        [
            f"[`{task.name}`](models/{task.name}/README.md)",
            ", ".join(f"`{alias}`" for alias in task.aliases),
            f"{task.title} (retired)" if task.is_retired else task.title,
            inputs_in_words(task),
            license_in_words(task),
            _here(task),
        ]
        for members in grouped(tasks).values()
        for task in members
    ]
    return _table(["task", "also", "what", "input", "licence", "today"], rows)


def for_developers(tasks: list[Task]) -> str:
    """Return the table of ``models/README.md``."""
    rows = [
        [
            f"[`{task.name}`]({task.name}/README.md)",
            group,
            ", ".join(dict.fromkeys(s.family for r in task.releases for s in r.stages)),
            ", ".join(release.version for release in task.releases),
            ", ".join(f"`_{output.suffix}`" for output in task.releases[0].outputs),
            license_in_words(task),
        ]
        for group, members in grouped(tasks).items()
        for task in members
    ]
    return _table(
        ["task", "group", "family", "releases, newest first", "SCT's outputs", "licence"], rows
    )


FILES: dict[Path, Callable[[list[Task]], str]] = {
    MODELS.parent / "README.md": for_users,
    MODELS / "README.md": for_developers,
}


def _updated(text: str, table: str) -> str:
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table}\n{END}{after}"


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the tables")
    action.add_argument("--check", action="store_true", help="exit 1 if a table is not current")
    write = parser.parse_args().write
    tasks = list_tasks(MODELS)
    stale = False
    for file, make in FILES.items():
        text = file.read_text(encoding="utf-8")
        if START not in text or END not in text:
            print(f"{file} has no {START} and {END}.", file=sys.stderr)
            return 1
        new = _updated(text, make(tasks))
        if new == text:
            continue
        if write:
            file.write_text(new, encoding="utf-8")
        else:
            print(f"{file} is not current; run python models/tables.py --write.", file=sys.stderr)
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
