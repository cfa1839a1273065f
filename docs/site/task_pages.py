"""A page for each task, from its task file, its card and what was compared, and a list of all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import indent

from deepseg_lite.bundles.citation import Reference, bibtex, references_of
from deepseg_lite.bundles.task_file import Task
from deepseg_lite.store import licenses
from deepseg_lite.store.catalogue import grouped, inputs_in_words, license_in_words

ROOT = Path(__file__).resolve().parents[2]
RELEASES = ROOT / "docs" / "developers" / "releases.md"
CAPTIONS = ROOT / "docs" / "pictures" / "captions.json"
GROUPS = {
    "spinal cord": "Spinal cord",
    "gray matter": "Gray matter",
    "pathology": "Lesions and tumours",
    "other": "Canal, rootlets and spine",
    "retired": "Retired by the Spinal Cord Toolbox",
}
HEAD = ["task", "what", "input", "licence", "weights"]
RELEASE_BY_RELEASE = """\
### Release by release

Voxels that differ from the original software, of networks in the layout of each release;
[the table of all releases](../../docs/developers/releases.md) says what the columns are.
"""


def index(tasks: Sequence[Task]) -> str:
    """Return the list of tasks, by what they segment."""
    lines = [
        "# Tasks\n",
        "A [task](../docs/users/glossary.md#task) is what you want to segment. Each has a page:",
        "what goes in, what comes out, how to get the model, its licence, and what was compared",
        "with the original. [Official models](../docs/users/tasks.md) says how to get one.\n",
    ]
    for group, members in grouped(tasks).items():
        rows = [
            [
                f"[`{task.name}`]({task.name}/README.md)",
                escaped(task.title),
                inputs_in_words(task),
                license_in_words(task),
                _weights(task),
            ]
            for task in members
        ]
        lines += [f"## {GROUPS[group]}\n", table(HEAD, rows), ""]
    return "\n".join(lines)


def navigation(tasks: Sequence[Task]) -> list[dict[str, list[str]]]:
    """Return the pages of tasks as a part of the navigation, by what they segment."""
    groups = grouped(tasks).items()
    return [{GROUPS[name]: [f"tasks/{task.name}.md" for task in each]} for name, each in groups]


def captions() -> dict[str, str]:
    """Return what the pictures of tasks show and where the images are from, by their names."""
    found: dict[str, str] = json.loads(CAPTIONS.read_text(encoding="utf-8"))
    return found


def page(task: Task, compared: str, *, caption: str | None) -> str:
    """Return the page of a task.

    Parameters
    ----------
    task : Task
        Its task file.
    compared : str
        The document of what was shown for every release.
    caption : str or None
        What stands below ``docs/pictures/TASK.png``; None where there is no picture.
    """
    card = (task.directory / "README.md").read_text(encoding="utf-8")
    before, limits, after = "\n".join(_sections(card)).partition("## Limits\n")
    return "\n".join([*_head(task, caption), before, *_compared(task, compared), limits + after])


def escaped(text: str) -> str:
    """Return a text of a task file as Markdown."""
    return re.sub(r"([*_<])", r"\\\1", text)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _weights(task: Task) -> str:
    if (task.bundle_path / "manifest.json").is_file():
        return "in the package"
    if task.exportable is None:
        return "cannot be converted yet"
    return "fetched"


def _head(task: Task, caption: str | None) -> Iterator[str]:
    about = json.dumps({"title": task.name, "description": task.title})  # JSON is YAML, too
    yield f"---\n{about}\n---\n\n# {escaped(task.title)}\n"
    if task.is_retired:
        others = ", ".join(f"[`{name}`](../{name}/README.md)" for name in task.superseded_by)
        yield '!!! warning "Retired"\n'
        yield "    The Spinal Cord Toolbox has retired this task; it runs with `--retired`."
        yield f"    In its place: {others}.\n" if others else ""
    yield f"{escaped(task.description)}\n"
    if caption:
        alt = f"Slices of an image, and the same with the result of {task.name} drawn on top"
        yield f"![{alt}](../../docs/pictures/{task.name}.png)\n\n*{caption}*\n"
    yield _commands(task)
    yield table(["", ""], _facts(task))
    yield ""
    if task.citations:
        yield '??? quote "BibTeX"\n\n    ```bibtex'
        yield indent(bibtex(references_of(None, task)).strip(), "    ")
        yield "    ```\n"


def _commands(task: Task) -> str:
    retired = " --retired" if task.is_retired else ""
    images = " ".join(f"-i {item.name.replace(' ', '_')}.nii.gz" for item in task.inputs)
    fetch = f"deepseg-lite fetch {task.name}\n" if _weights(task) == "fetched" else ""
    return f"```sh\n{fetch}deepseg-lite run {task.name}{retired} {images}\n```\n"


def _facts(task: Task) -> Iterator[tuple[str, str]]:
    newest = task.releases[0]
    yield "**Name**", f"`{task.name}`"
    if task.aliases:
        yield "Also called", ", ".join(f"`{alias}`" for alias in task.aliases)
    for number, item in enumerate(task.inputs, 1):
        name = "Input" if len(task.inputs) == 1 else f"Image {number}"
        remark = f" ({escaped(item.remark)})" if item.remark else ""
        yield name, f"{' or '.join(item.contrasts)}{remark}"
    yield "Output", "<br>".join(_outputs(task))
    yield "Options", _options(task)
    yield "Family", ", ".join(dict.fromkeys(stage.family for stage in newest.stages))
    yield "Releases", ", ".join(release.version for release in task.releases)
    yield "Licence of the weights", _license(task)
    if task.citations:
        yield "Cite", "<br>".join(escaped(Reference.to(each).sentence) for each in task.citations)


def _outputs(task: Task) -> Iterator[str]:
    for output in task.releases[0].outputs:
        labels = f": {', '.join(output.labels)}" if output.labels else ""
        option = f", with `-{output.option}`" if output.option else ""
        yield f"`_{output.suffix}.nii.gz` ({output.kind}{escaped(labels)}{option})"


def _options(task: Task) -> str:
    own = ", ".join(f"`-{option}`" for option in task.releases[0].options)
    common = "[those of every task](../../docs/users/options.md)"
    return f"{common}; in SCT's spelling also {own}" if own else common


def _license(task: Task) -> str:
    text = license_in_words(task)
    if not licenses.may_be_passed_on(task.license):
        return f"{text}: use them yourself, do not pass them on"
    return (
        f"{text}; `fetch` asks whether you agree" if licenses.needs_consent(task.license) else text
    )


def _sections(card: str) -> Iterator[str]:
    """Yield the sections of a card, without its title and its introduction."""
    _, _, sections = card.partition("\n## ")
    yield f"## {sections}".rstrip() + "\n"


def _compared(task: Task, compared: str) -> Iterator[str]:
    """Yield what was shown for the releases of a task: the rows of the tables that are about it."""
    for head, rows in tables(compared):
        about = [row for row in rows if re.match(rf"{task.name}(, |-)", row[0])]
        if about and "voxels" in head:  # what was not verified is among the limits
            shown = slice(head.index("float32") + 1)
            yield f"{RELEASE_BY_RELEASE if len(head) > len(head[shown]) else 'With options:'}\n"
            yield f"{table(head[shown], (row[shown] for row in about))}\n"


def tables(document: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield head and rows of each table of a document."""
    for block in re.findall(r"(?:^\|.*\n)+", document, re.MULTILINE):
        head, _, *rows = [
            [cell.strip() for cell in line.strip("| ").split(" | ")]
            for line in block.split("\n")[:-1]
        ]
        yield head, rows
