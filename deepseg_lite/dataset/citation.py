"""Citation texts: a paragraph for the methods of a paper, and its references, for each task."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deepseg_lite.api.model import Model, Part
from deepseg_lite.api.record import versions
from deepseg_lite.atomic import make_folder, write_files
from deepseg_lite.bundles.citation import bibtex, references_of, software
from deepseg_lite.bundles.files import CANONICAL
from deepseg_lite.engines.engine import Engine
from deepseg_lite.inference.settings import Settings

TEXT = """\
# How to cite {name}

For the methods section; numbers are those of the references.

> Images were segmented with the task {name}{title} of {software},
> which computed {models}
> in {precision}, with {libraries} and Python {python}.

## References

{references}

CITATION.bib has them for BibTeX. The record beside each result has all settings.
"""
SOURCE_IS_SILENT = "(The source of this model does not say how to cite it.)"


def citation_files(name: str, model: Model, settings: Settings) -> dict[str, str]:
    """Return what to cite for the results of a task, as Markdown and as BibTeX.

    Parameters
    ----------
    name : str
        What the task is called in records.
    model : Model
        Its model.
    settings : Settings
        Complete; they decide which bundles are used.

    Returns
    -------
    files : dict of str
        Texts by the names of their files.
    """
    references = {software(): 1}
    described = []
    for part in model.parts(settings):
        numbers = [
            references.setdefault(reference, len(references) + 1)
            for reference in references_of(part.bundle, model.task)
        ]
        described.append(_describe(part, model.engine, numbers))
    libraries = versions(*model.engine.packages, "numpy", "scipy", "nibabel")
    text = TEXT.format(
        name=name,
        title=f" ({model.task.title})" if model.task else "",
        software=f"{next(iter(references)).text.partition(',')[0]} [1]",
        models="\n> and ".join(described),
        precision=model.engine.precision,
        libraries=", ".join(f"{package} {number}" for package, number in libraries.items()),
        python=platform.python_version(),
        references="\n".join(
            f"{number}. {reference.sentence}" for reference, number in references.items()
        ),
    )
    return {"CITATION.md": text, "CITATION.bib": bibtex(references)}


def _describe(part: Part, engine: Engine, numbers: list[int]) -> str:
    """Return a model in words: its name, version and hashes, and the numbers of its references.

    Hashes are of the canonical form, whichever ran: its weights are those of all forms.
    """
    canonical = replace(engine, form=CANONICAL)
    hashes = [canonical.file(part.bundle, network).sha256[:12] for network in part.networks]
    cited = f"[{', '.join(map(str, numbers))}]" if numbers else SOURCE_IS_SILENT
    return (
        f"the model {part.bundle.name}, version {part.bundle.version} "
        f"(SHA-256 {', '.join(hashes)}) {cited}"
    )


def write_citations(logs: Path, citations: Mapping[str, Mapping[str, str]]) -> None:
    """Write what to cite for each task beside its logs.

    Parameters
    ----------
    logs : Path
        Folder that has one for each task.
    citations : mapping of str to mapping
        From `citation_files`, by the names of tasks.

    Raises
    ------
    OutputError
        If that cannot be written.
    """
    for name, files in citations.items():
        make_folder(logs / name)
        changed = {}
        for file, text in files.items():
            with suppress(OSError):
                if (logs / name / file).read_text(encoding="utf-8") == text:
                    continue
            changed[logs / name / file] = text.encode()
        if changed:
            write_files(changed, overwrite=True, synced=False)
